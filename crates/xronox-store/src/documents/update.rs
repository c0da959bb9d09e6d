//! Changes of a document, with MongoDB's meaning.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};
use xronox_model::{Filter, Invalid, Path, json, order::compare};

/// How many nulls a change may put in front of the array element it sets.
const MAX_PADDING: usize = 1_000;

/// What to change of a document.
///
/// The operators are
/// [MongoDB's](https://www.mongodb.com/docs/manual/reference/operator/update/),
/// and so is what they do along a path: missing objects on the way are made,
/// a number names the element of an array that is there (made with nulls in
/// front if it lies behind the end), and a scalar in the way, null included,
/// is an error.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// Sorted by path, none inside another.
    steps: Vec<Step>,
}

/// One change at one path.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Where.
    pub path: Path,
    /// What.
    pub change: Change,
}

/// What to change at a path.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// `$set`: this value stands there.
    Set(Value),
    /// `$setOnInsert`: this value stands there, if the document is made.
    SetOnInsert(Value),
    /// `$unset`: nothing stands there, or null in an array.
    Unset,
    /// `$inc`: this number is added; to nothing, it is set. Integers stay
    /// exact and do not leave 64 bits.
    Inc(Number),
    /// `$max`: the larger of this value and the one there, in the order that
    /// sorts have; with nothing there, it is set.
    Max(Value),
    /// `$addToSet`: those that the array there does not hold yet are appended;
    /// with nothing there, an array is made.
    AddToSet(Vec<Value>),
}

impl Update {
    /// Reads an update as MongoDB writes it, say
    /// `{"$set": {"a.b": 1}, "$inc": {"n": 1}, "$addToSet": {"tags": {"$each": ["x", "y"]}}}`.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if it is not made of `$set`, `$setOnInsert`, `$unset`,
    /// `$inc`, `$max` and `$addToSet`, or as for [`of`](Self::of).
    pub fn parse(update: &Value) -> Result<Self, Invalid> {
        let operators = update
            .as_object()
            .ok_or_else(|| Invalid::at("", "an update is an object of operators"))?;
        let mut steps = Vec::new();
        for (operator, fields) in operators {
            let fields = fields
                .as_object()
                .ok_or_else(|| Invalid::at(operator, "an object of paths was expected"))?;
            for (path, operand) in fields {
                let path: Path = path.parse()?;
                let change = change(operator, &path, operand)?;
                steps.push(Step { path, change });
            }
        }
        Self::of(steps)
    }

    /// Makes an update of single changes.
    ///
    /// # Errors
    ///
    /// [`Invalid`] naming the path, if it is that of another change or lies
    /// inside it, or an operand has no normal form.
    pub fn of(steps: impl IntoIterator<Item = Step>) -> Result<Self, Invalid> {
        let mut steps: Vec<Step> = steps.into_iter().collect();
        for Step { path, change } in &mut steps {
            change
                .normalize()
                .map_err(|e| Invalid::at(path.to_string(), e.message()))?;
        }
        steps.sort_by(|a, b| in_order(&a.path, &b.path));
        for pair in steps.windows(2) {
            if let [outer, inner] = pair
                && inner.path.starts_with(&outer.path)
            {
                let message = format!("cannot change together with `{}`", outer.path);
                return Err(Invalid::at(inner.path.to_string(), message));
            }
        }
        Ok(Self { steps })
    }

    /// The changes, sorted by path, none inside another.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What becomes of a document in normal form.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if a change cannot be made, would change the `_id`, or
    /// nests the document too deeply.
    pub fn apply(&self, document: &Value) -> Result<Value, Invalid> {
        let changed = self.applied(document.clone(), false)?;
        if changed.get("_id") != document.get("_id") {
            return Err(Invalid::at(
                "_id",
                "the `_id` of a document does not change",
            ));
        }
        Ok(changed)
    }

    /// The document that an upsert makes when none matches `filter`: what the
    /// filter [requires by equality](Filter::equalities), changed.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if a change cannot be made, the filter requires two values
    /// of one path, or the document would nest too deeply.
    pub fn make(&self, filter: &Filter) -> Result<Value, Invalid> {
        let mut document = Value::Object(Map::new());
        let mut known: Vec<&Path> = Vec::new();
        let equalities = filter.equalities();
        for (path, value) in &equalities {
            let twice = |other: &&&Path| path.starts_with(other) || other.starts_with(path);
            if known.iter().any(|other| twice(&other)) {
                let message = "an upsert cannot tell its value from the filter";
                return Err(Invalid::at(path.to_string(), message));
            }
            Place::at(&mut document, path)?.put((*value).clone());
            known.push(path);
        }
        self.applied(document, true)
    }

    fn applied(&self, mut document: Value, made: bool) -> Result<Value, Invalid> {
        for step in &self.steps {
            step.apply(&mut document, made)?;
        }
        json::normalize(document)
    }
}

fn change(operator: &str, path: &Path, operand: &Value) -> Result<Change, Invalid> {
    let wrong = |message: &str| Invalid::at(path.to_string(), format!("{operator}: {message}"));
    Ok(match operator {
        "$set" => Change::Set(operand.clone()),
        "$setOnInsert" => Change::SetOnInsert(operand.clone()),
        "$unset" => Change::Unset,
        "$inc" => match operand {
            Value::Number(number) => Change::Inc(number.clone()),
            _ => return Err(wrong("a number was expected")),
        },
        "$max" => Change::Max(operand.clone()),
        "$addToSet" => match operand.get("$each") {
            None => Change::AddToSet(vec![operand.clone()]),
            Some(Value::Array(each)) if operand.as_object().is_some_and(|o| o.len() == 1) => {
                Change::AddToSet(each.clone())
            }
            Some(_) => return Err(wrong("`$each` stands alone, with an array")),
        },
        _ => {
            let known = "unknown operator; there are `$set`, `$setOnInsert`, `$unset`, `$inc`, \
                         `$max` and `$addToSet`";
            return Err(Invalid::at(operator, known));
        }
    })
}

impl Change {
    fn normalize(&mut self) -> Result<(), Invalid> {
        match self {
            Self::Set(value) | Self::SetOnInsert(value) | Self::Max(value) => {
                *value = json::normalize(value.take())?;
            }
            Self::AddToSet(values) => {
                for value in values {
                    *value = json::normalize(value.take())?;
                }
            }
            Self::Inc(number) => {
                if let Value::Number(normal) = json::normalize(Value::Number(number.clone()))? {
                    *number = normal;
                }
            }
            Self::Unset => {}
        }
        Ok(())
    }
}

impl Step {
    fn apply(&self, document: &mut Value, made: bool) -> Result<(), Invalid> {
        let path = &self.path;
        let wrong = |message: &str| Invalid::at(path.to_string(), message);
        match &self.change {
            Change::SetOnInsert(_) if !made => {}
            Change::Set(value) | Change::SetOnInsert(value) => {
                Place::at(document, path)?.put(value.clone());
            }
            Change::Unset => unset(document, path.segments()),
            Change::Inc(by) => {
                let mut place = Place::at(document, path)?;
                let sum = match place.get() {
                    None => by.clone(),
                    Some(Value::Number(number)) => sum(number, by).map_err(wrong)?,
                    Some(_) => return Err(wrong("only a number can be incremented")),
                };
                place.put(Value::Number(sum));
            }
            Change::Max(value) => {
                let mut place = Place::at(document, path)?;
                if place
                    .get()
                    .is_none_or(|old| compare(old, value) == Ordering::Less)
                {
                    place.put(value.clone());
                }
            }
            Change::AddToSet(values) => {
                let mut place = Place::at(document, path)?;
                if place.get().is_none() {
                    place.put(Value::Array(Vec::new()));
                }
                let Some(Value::Array(elements)) = place.get() else {
                    return Err(wrong("only an array can be added to"));
                };
                for value in values {
                    if !elements.contains(value) {
                        elements.push(value.clone());
                    }
                }
            }
        }
        Ok(())
    }
}

fn sum(a: &Number, b: &Number) -> Result<Number, &'static str> {
    if let (Some(a), Some(b)) = (integer(a), integer(b)) {
        let sum = a + b;
        let number = i64::try_from(sum).map(Number::from);
        return number
            .or_else(|_| u64::try_from(sum).map(Number::from))
            .map_err(|_| "the sum leaves the 64-bit range");
    }
    let sum = a.as_f64().zip(b.as_f64()).map(|(a, b)| a + b);
    sum.and_then(Number::from_f64)
        .ok_or("the sum is too large for a 64-bit float")
}

fn integer(number: &Number) -> Option<i128> {
    let signed = number.as_i64().map(i128::from);
    signed.or_else(|| number.as_u64().map(i128::from))
}

/// Orders the elements of an array by number, so that each change pads only
/// what no other one sets.
fn in_order(a: &Path, b: &Path) -> Ordering {
    fn key(segment: &str) -> (usize, &str) {
        (element(segment).unwrap_or(usize::MAX), segment)
    }
    let a = a.segments().iter().map(|s| key(s));
    a.cmp(b.segments().iter().map(|s| key(s)))
}

/// The array element that a segment names: decimal, without leading zeros.
fn element(segment: &str) -> Option<usize> {
    let plain = segment.bytes().all(|b| b.is_ascii_digit())
        && (segment == "0" || !segment.starts_with('0'));
    if plain { segment.parse().ok() } else { None }
}

/// Where a path ends, with something there or not.
enum Place<'d> {
    Member(&'d mut Map<String, Value>, &'d str),
    Element(&'d mut Vec<Value>, usize),
}

impl<'d> Place<'d> {
    /// Goes there, making what is missing on the way.
    fn at(document: &'d mut Value, path: &'d Path) -> Result<Self, Invalid> {
        let mut value = document;
        let [way @ .., last] = path.segments() else {
            return Err(Invalid::at("", "a path needs at least one segment"));
        };
        for segment in way {
            let missing = || Value::Object(Map::new());
            value = match Self::of(value, segment, path)? {
                Self::Member(object, name) => object.entry(name).or_insert_with(missing),
                Self::Element(array, at) => {
                    if at >= array.len() {
                        array.resize(at, Value::Null);
                        array.push(missing());
                    }
                    &mut array[at]
                }
            };
        }
        Self::of(value, last, path)
    }

    fn of(value: &'d mut Value, segment: &'d str, path: &Path) -> Result<Self, Invalid> {
        let wrong = |message: String| Err(Invalid::at(path.to_string(), message));
        match value {
            Value::Object(object) => Ok(Self::Member(object, segment)),
            Value::Array(array) => match element(segment) {
                Some(at) if at <= array.len() + MAX_PADDING => Ok(Self::Element(array, at)),
                Some(_) => wrong(format!(
                    "`{segment}` lies too far behind the end of its array"
                )),
                None => wrong(format!("`{segment}` names no element of the array there")),
            },
            _ => wrong(format!("`{segment}` cannot stand inside the value there")),
        }
    }

    fn get(&mut self) -> Option<&mut Value> {
        match self {
            Self::Member(object, name) => object.get_mut(*name),
            Self::Element(array, at) => array.get_mut(*at),
        }
    }

    fn put(&mut self, value: Value) {
        match self {
            Self::Member(object, name) => {
                object.insert((*name).to_owned(), value);
            }
            Self::Element(array, at) => {
                if *at >= array.len() {
                    array.resize(*at + 1, Value::Null);
                }
                array[*at] = value;
            }
        }
    }
}

fn unset(value: &mut Value, segments: &[String]) {
    match (value, segments) {
        (Value::Object(object), [name]) => {
            object.remove(name);
        }
        (Value::Object(object), [name, inner @ ..]) => {
            if let Some(value) = object.get_mut(name) {
                unset(value, inner);
            }
        }
        (Value::Array(array), [segment, inner @ ..]) => {
            if let Some(value) = element(segment).and_then(|at| array.get_mut(at)) {
                if inner.is_empty() {
                    *value = Value::Null;
                } else {
                    unset(value, inner);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
