//! User agents: long texts, of which many sessions have the same few.

use std::{collections::HashMap, sync::Arc};

#[derive(Default)]
pub(super) struct UserAgents {
    places: HashMap<Arc<str>, u32>,
    texts: Vec<Text>,
    free: Vec<u32>,
}

struct Text {
    text: Arc<str>,
    uses: u32,
}

impl UserAgents {
    /// The place of a text, which is kept until it is given back as often.
    pub(super) fn take(&mut self, text: &Arc<str>) -> u32 {
        if let Some(place) = self.places.get(text) {
            self.texts[*place as usize].uses += 1;
            return *place;
        }
        let entry = Text {
            text: Arc::clone(text),
            uses: 1,
        };
        let place = match self.free.pop() {
            Some(place) => {
                self.texts[place as usize] = entry;
                place
            }
            None => {
                self.texts.push(entry);
                // There are no more of them than records.
                (self.texts.len() - 1) as u32
            }
        };
        self.places.insert(Arc::clone(text), place);
        place
    }

    pub(super) fn text(&self, place: u32) -> &Arc<str> {
        &self.texts[place as usize].text
    }

    pub(super) fn give_back(&mut self, place: u32) {
        let entry = &mut self.texts[place as usize];
        entry.uses -= 1;
        if entry.uses == 0 {
            self.places.remove(&entry.text);
            entry.text = Arc::from("");
            self.free.push(place);
        }
    }
}
