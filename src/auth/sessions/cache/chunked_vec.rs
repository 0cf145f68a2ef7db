//! A vector that grows without moving its elements. `Vec` would copy all of them and leave
//! freed blocks of every size behind.

use std::ops::{Index, IndexMut};

/// Large enough that the list of chunks stays in the processor's cache.
const PER_CHUNK: usize = 1_024;

/// Full chunks, and a last one that may have room.
pub(super) struct ChunkedVec<T>(Vec<Vec<T>>);

impl<T> ChunkedVec<T> {
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

    /// Removes the last element.
    pub(super) fn pop(&mut self) -> Option<T> {
        let last = self.0.last_mut()?;
        let value = last.pop();
        if last.is_empty() {
            self.0.pop();
        }
        value
    }

    /// Removes an element; the last one takes its place.
    pub(super) fn swap_remove(&mut self, index: usize) -> Option<T> {
        let last = self.pop()?;
        if index == self.len() {
            return Some(last);
        }
        Some(std::mem::replace(&mut self[index], last))
    }
}

impl<T> Index<usize> for ChunkedVec<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        &self.0[index / PER_CHUNK][index % PER_CHUNK]
    }
}

impl<T> IndexMut<usize> for ChunkedVec<T> {
    fn index_mut(&mut self, index: usize) -> &mut T {
        &mut self.0[index / PER_CHUNK][index % PER_CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_a_vector() {
        let (mut vec, mut vector) = (ChunkedVec::new(), Vec::new());
        for round in 0..4 * PER_CHUNK {
            for value in 0..3 {
                vec.push((round, value));
                vector.push((round, value));
            }
            let index = round * 7 % vector.len();
            assert_eq!(vec.swap_remove(index), Some(vector.swap_remove(index)));
            assert_eq!(vec.len(), vector.len());
        }
        assert!((0..vector.len()).all(|index| vec[index] == vector[index]));
        while let Some(expected) = vector.pop() {
            assert_eq!(vec.swap_remove(vector.len()), Some(expected));
        }
        assert_eq!((vec.len(), vec.swap_remove(0)), (0, None));
    }
}
