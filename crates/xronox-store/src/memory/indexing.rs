//! The life of an index.

use xronox_model::{FieldKeys, IndexSpec, Op, Path, RecordId, UniqueKey};

use super::collection::Collection;
use crate::{Index, Indexes, StoreError, Taken, ruling};

impl Collection {
    pub(super) fn add_index(&mut self, spec: &IndexSpec) -> Result<Indexes, StoreError> {
        ruling::check_spec(spec)?;
        let name = spec.name();
        if self.indexes.get(&name).is_none() {
            let index = Index {
                spec: spec.clone(),
                ready: false,
            };
            self.indexes.list.push(index);
            self.indexes.list.sort_by_key(|index| index.spec.name());
            self.indexes.epoch += 1;
        }
        Ok(self.indexes.clone())
    }

    pub(super) fn fill_index(
        &mut self,
        field: &Path,
        rows: Vec<(u64, FieldKeys)>,
    ) -> Result<(), StoreError> {
        if self.indexes.of_field(field).is_none() {
            return Err(ruling::no_index(&field.to_string()));
        }
        for (cv, keys) in rows {
            if let Some(mut row) = self.rows.get(&cv).cloned()
                && row.pruned.is_none()
                && row.op != Op::Purge
                && row.keys.get(field).is_none()
            {
                row.keys.insert(field.clone(), keys);
                self.set_row(cv, Some(row));
            }
        }
        self.settle(true);
        Ok(())
    }

    pub(super) fn fill_unique(
        &mut self,
        keys: Vec<(RecordId, u64, UniqueKey)>,
    ) -> Result<Vec<Taken>, StoreError> {
        let known = |name: &str| {
            self.indexes
                .get(name)
                .is_some_and(|index| index.spec.unique)
        };
        if let Some((_, _, key)) = keys.iter().find(|(_, _, key)| !known(&key.index)) {
            return Err(ruling::no_index(&key.index));
        }
        let mut taken = Vec::new();
        for (id, ov, key) in keys {
            if !self
                .newest_of(&id)
                .is_some_and(|newest| newest.ov == ov && newest.live())
            {
                continue;
            }
            if let Some(holder) = self.holder(&key).filter(|holder| **holder != id).cloned() {
                taken.push(Taken {
                    index: key.index,
                    wanted_by: id,
                    holder,
                });
                continue;
            }
            let mut held = self.held.get(&id).cloned().unwrap_or_default();
            held.insert(key);
            self.set_held(&id, held);
        }
        self.settle(true);
        Ok(taken)
    }

    pub(super) fn index_ready(&mut self, name: &str) -> Result<Indexes, StoreError> {
        let mut named = self
            .indexes
            .list
            .iter_mut()
            .filter(|index| index.spec.name() == name);
        named.next().ok_or_else(|| ruling::no_index(name))?.ready = true;
        drop(named);
        Ok(self.indexes.clone())
    }

    pub(super) fn drop_index(&mut self, name: &str) {
        let Some(index) = self.indexes.get(name).cloned() else {
            return;
        };
        self.indexes.list.retain(|kept| kept != &index);
        self.indexes.epoch += 1;
        if index.spec.unique {
            self.holders.retain(|key, _| key.index != name);
            self.held.retain(|_, keys| {
                keys.retain(|key| key.index != name);
                !keys.is_empty()
            });
            return;
        }
        for field in &index.spec.fields {
            self.multi.remove(field);
            for row in self.rows.values_mut() {
                row.keys.remove(field);
            }
        }
    }
}
