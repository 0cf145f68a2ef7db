//! A list that grows without moving what is in it: a vector would copy all of it,
//! and leave holes of every size behind.

use std::ops::{Index, IndexMut};

/// So many that the list of chunks stays in a cache.
const PER_CHUNK: usize = 1_024;

/// Full chunks, and one that may not be.
pub(super) struct Chunks<T>(Vec<Vec<T>>);

impl<T> Chunks<T> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn len(&self) -> usize {
        match self.0.split_last() {
            Some((last, full)) => full.len() * PER_CHUNK + last.len(),
            None => 0,
        }
    }

    pub(super) fn push(&mut self, value: T) {
        match self.0.last_mut() {
            Some(last) if last.len() < PER_CHUNK => last.push(value),
            _ => {
                let mut chunk = Vec::with_capacity(PER_CHUNK);
                chunk.push(value);
                self.0.push(chunk);
            }
        }
    }

    /// Removes the last one.
    fn pop(&mut self) -> Option<T> {
        let last = self.0.last_mut()?;
        let value = last.pop();
        if last.is_empty() {
            self.0.pop();
        }
        value
    }

    /// Removes one; the last takes its place.
    pub(super) fn swap_remove(&mut self, place: usize) -> Option<T> {
        let last = self.pop()?;
        if place == self.len() {
            return Some(last);
        }
        Some(std::mem::replace(&mut self[place], last))
    }
}

impl<T> Index<usize> for Chunks<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        &self.0[place / PER_CHUNK][place % PER_CHUNK]
    }
}

impl<T> IndexMut<usize> for Chunks<T> {
    fn index_mut(&mut self, place: usize) -> &mut T {
        &mut self.0[place / PER_CHUNK][place % PER_CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_vector() {
        let (mut chunks, mut vector) = (Chunks::new(), Vec::new());
        for round in 0..4 * PER_CHUNK {
            for value in 0..3 {
                chunks.push((round, value));
                vector.push((round, value));
            }
            let place = round * 7 % vector.len();
            assert_eq!(chunks.swap_remove(place), Some(vector.swap_remove(place)));
            assert_eq!(chunks.len(), vector.len());
        }
        assert!((0..vector.len()).all(|place| chunks[place] == vector[place]));
        while let Some(expected) = vector.pop() {
            assert_eq!(chunks.swap_remove(vector.len()), Some(expected));
        }
        assert_eq!((chunks.len(), chunks.swap_remove(0)), (0, None));
    }
}
