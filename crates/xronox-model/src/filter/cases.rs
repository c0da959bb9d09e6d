//! The meaning of filters, one row a rule.
//!
//! The matcher, every backend and a real MongoDB server are to give the answers
//! of [`CASES`]. To run it on a server, send integers that fit as int32, other
//! integers as int64, and every other number as double.

/// One document, one filter, and whether they match.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The rule, in a few words.
    pub name: &'static str,
    /// The filter as JSON.
    pub filter: &'static str,
    /// The document as JSON.
    pub doc: &'static str,
    /// Whether the filter matches the document.
    pub matches: bool,
}

const fn yes(name: &'static str, filter: &'static str, doc: &'static str) -> Case {
    Case {
        name,
        filter,
        doc,
        matches: true,
    }
}

const fn no(name: &'static str, filter: &'static str, doc: &'static str) -> Case {
    Case {
        name,
        filter,
        doc,
        matches: false,
    }
}

/// What this crate, every backend and a MongoDB server agree on.
#[rustfmt::skip]
pub const CASES: &[Case] = &[
    // Nothing asked
    yes("the empty filter matches all", r"{}", r#"{"a":1}"#),
    yes("the empty filter matches the empty document", r"{}", r"{}"),
    // Equality
    yes("equality", r#"{"a":1}"#, r#"{"a":1}"#),
    no("equality with another value", r#"{"a":1}"#, r#"{"a":2}"#),
    no("equality with a missing field", r#"{"a":1}"#, r#"{"b":1}"#),
    yes("an integral double equals the integer", r#"{"a":1.0}"#, r#"{"a":1}"#),
    no("a number is not its text", r#"{"a":1}"#, r#"{"a":"1"}"#),
    no("true is not 1", r#"{"a":1}"#, r#"{"a":true}"#),
    yes("equality of booleans", r#"{"a":false}"#, r#"{"a":false}"#),
    no("false is not missing", r#"{"a":false}"#, r"{}"),
    yes("equality of strings", r#"{"a":"x"}"#, r#"{"a":"x"}"#),
    no("strings keep their case", r#"{"a":"x"}"#, r#"{"a":"X"}"#),
    yes("the empty string is a value", r#"{"a":""}"#, r#"{"a":""}"#),
    no("the empty string is not null", r#"{"a":""}"#, r#"{"a":null}"#),
    no("composed and decomposed letters differ", r#"{"a":"é"}"#, "{\"a\":\"e\\u0301\"}"),
    yes("explicit $eq", r#"{"a":{"$eq":1}}"#, r#"{"a":1}"#),
    yes("two fields, both fit", r#"{"a":1,"b":2}"#, r#"{"a":1,"b":2}"#),
    no("two fields, one does not fit", r#"{"a":1,"b":2}"#, r#"{"a":1,"b":3}"#),
    yes("large integers are exact", r#"{"a":9007199254740993}"#, r#"{"a":9007199254740993}"#),
    no("neighbouring large integers differ", r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#),
    yes("equality of doubles", r#"{"a":0.1}"#, r#"{"a":0.1}"#),
    yes("minus zero is zero", r#"{"a":-0.0}"#, r#"{"a":0}"#),
    // Null and missing
    yes("null equals null", r#"{"a":null}"#, r#"{"a":null}"#),
    yes("null equals missing", r#"{"a":null}"#, r"{}"),
    no("null does not equal a value", r#"{"a":null}"#, r#"{"a":0}"#),
    yes("null finds a null element", r#"{"a":null}"#, r#"{"a":[1,null]}"#),
    no("null does not equal an empty array", r#"{"a":null}"#, r#"{"a":[]}"#),
    no("null does not equal an empty object", r#"{"a":null}"#, r#"{"a":{}}"#),
    yes("null at a path through a scalar", r#"{"a.b":null}"#, r#"{"a":1}"#),
    yes("null at a path through null", r#"{"a.b":null}"#, r#"{"a":null}"#),
    yes("null at a path through an object without it", r#"{"a.b":null}"#, r#"{"a":{"c":1}}"#),
    no("null at a path through an empty array", r#"{"a.b":null}"#, r#"{"a":[]}"#),
    no("null at a path through an array of scalars", r#"{"a.b":null}"#, r#"{"a":[1,2]}"#),
    yes("null where one of the objects lacks the field", r#"{"a.b":null}"#, r#"{"a":[{"b":1},{"c":1}]}"#),
    no("null where every object has the field", r#"{"a.b":null}"#, r#"{"a":[{"b":1},2]}"#),
    yes("$in with null finds missing", r#"{"a":{"$in":[null,1]}}"#, r"{}"),
    yes("$ne null wants a value", r#"{"a":{"$ne":null}}"#, r#"{"a":0}"#),
    no("$ne null on missing", r#"{"a":{"$ne":null}}"#, r"{}"),
    no("$ne null where an element is null", r#"{"a":{"$ne":null}}"#, r#"{"a":[null,1]}"#),
    yes("$ne null on an empty array", r#"{"a":{"$ne":null}}"#, r#"{"a":[]}"#),
    yes("$ne null at a path through an array of scalars", r#"{"a.b":{"$ne":null}}"#, r#"{"a":[1]}"#),
    no("$gt null matches nothing", r#"{"a":{"$gt":null}}"#, r#"{"a":1}"#),
    no("$lt null matches nothing", r#"{"a":{"$lt":null}}"#, r"{}"),
    yes("$gte null is null", r#"{"a":{"$gte":null}}"#, r#"{"a":null}"#),
    yes("$lte null is missing too", r#"{"a":{"$lte":null}}"#, r"{}"),
    no("$gte null is not a value", r#"{"a":{"$gte":null}}"#, r#"{"a":1}"#),
    // Ranges and types
    yes("$gt", r#"{"a":{"$gt":1}}"#, r#"{"a":2}"#),
    no("$gt is strict", r#"{"a":{"$gt":1}}"#, r#"{"a":1}"#),
    yes("$gte", r#"{"a":{"$gte":1}}"#, r#"{"a":1}"#),
    yes("$lt", r#"{"a":{"$lt":1}}"#, r#"{"a":0.5}"#),
    no("$lt is strict", r#"{"a":{"$lt":1}}"#, r#"{"a":1}"#),
    yes("$lte", r#"{"a":{"$lte":1}}"#, r#"{"a":1}"#),
    yes("negative numbers compare", r#"{"a":{"$lt":-1}}"#, r#"{"a":-1.5}"#),
    yes("a double between integers", r#"{"a":{"$gt":1,"$lt":2}}"#, r#"{"a":1.5}"#),
    yes("a large integer above a double", r#"{"a":{"$gt":9007199254740992.0}}"#, r#"{"a":9007199254740993}"#),
    no("a range of numbers finds no text", r#"{"a":{"$gt":1}}"#, r#"{"a":"5"}"#),
    no("a range of numbers finds no boolean", r#"{"a":{"$gte":0}}"#, r#"{"a":true}"#),
    no("a range of numbers finds no null", r#"{"a":{"$lt":1}}"#, r#"{"a":null}"#),
    no("a range of numbers finds nothing missing", r#"{"a":{"$lt":1}}"#, r"{}"),
    no("a range of numbers finds no object", r#"{"a":{"$gt":1}}"#, r#"{"a":{"b":2}}"#),
    yes("a range of strings", r#"{"a":{"$gte":"b","$lt":"c"}}"#, r#"{"a":"bz"}"#),
    no("a range of strings finds no number", r#"{"a":{"$lt":"b"}}"#, r#"{"a":1}"#),
    yes("a prefix sorts before what it begins", r#"{"a":{"$lt":"ab"}}"#, r#"{"a":"a"}"#),
    yes("capital letters sort first", r#"{"a":{"$lt":"a"}}"#, r#"{"a":"Z"}"#),
    yes("letters sort by their bytes", r#"{"a":{"$gt":"z"}}"#, r#"{"a":"é"}"#),
    yes("astral characters sort last", r#"{"a":{"$gt":"\uffff"}}"#, r#"{"a":"😀"}"#),
    yes("digits sort as text", r#"{"a":{"$lt":"9"}}"#, r#"{"a":"10"}"#),
    yes("true is greater than false", r#"{"a":{"$gt":false}}"#, r#"{"a":true}"#),
    no("false is not less than false", r#"{"a":{"$lt":false}}"#, r#"{"a":false}"#),
    no("a range of booleans finds no number", r#"{"a":{"$gte":false}}"#, r#"{"a":1}"#),
    yes("objects compare by value", r#"{"a":{"$gt":{"b":1}}}"#, r#"{"a":{"b":2}}"#),
    yes("objects compare by name", r#"{"a":{"$gt":{"b":1}}}"#, r#"{"a":{"c":0}}"#),
    yes("a longer object is greater", r#"{"a":{"$gt":{"b":1}}}"#, r#"{"a":{"b":1,"c":0}}"#),
    no("a range of objects finds no array", r#"{"a":{"$gte":{}}}"#, r#"{"a":[]}"#),
    // Dates are text
    yes("a date range", r#"{"a":{"$gte":"2024-01-01T00:00:00.000Z","$lt":"2025-01-01T00:00:00.000Z"}}"#, r#"{"a":"2024-06-30T12:00:00.000Z"}"#),
    no("a date outside its range", r#"{"a":{"$lt":"2024-01-01T00:00:00.000Z"}}"#, r#"{"a":"2024-01-01T00:00:00.000Z"}"#),
    yes("milliseconds sort", r#"{"a":{"$gt":"2024-01-01T00:00:00.000Z"}}"#, r#"{"a":"2024-01-01T00:00:00.001Z"}"#),
    no("a date is not a number", r#"{"a":{"$gt":0}}"#, r#"{"a":"2024-01-01T00:00:00.000Z"}"#),
    // Arrays
    yes("equality finds an element", r#"{"a":2}"#, r#"{"a":[1,2,3]}"#),
    no("equality finds no element", r#"{"a":4}"#, r#"{"a":[1,2,3]}"#),
    no("an element inside an inner array is not found", r#"{"a":1}"#, r#"{"a":[[1]]}"#),
    yes("equality with the whole array", r#"{"a":[1,2]}"#, r#"{"a":[1,2]}"#),
    no("the order of elements counts", r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#),
    no("an array is not its beginning", r#"{"a":[1,2]}"#, r#"{"a":[1,2,3]}"#),
    yes("equality with an element that is that array", r#"{"a":[1,2]}"#, r#"{"a":[0,[1,2]]}"#),
    no("equality with an array two levels down", r#"{"a":[1,2]}"#, r#"{"a":[[[1,2]]]}"#),
    no("an array does not equal its only element", r#"{"a":[1]}"#, r#"{"a":1}"#),
    yes("the empty array equals itself", r#"{"a":[]}"#, r#"{"a":[]}"#),
    yes("an empty array as an element", r#"{"a":[]}"#, r#"{"a":[1,[]]}"#),
    no("the empty array is not missing", r#"{"a":[]}"#, r"{}"),
    yes("numbers in arrays are equal by value", r#"{"a":[1.0]}"#, r#"{"a":[1]}"#),
    yes("a range finds one element", r#"{"a":{"$gt":5}}"#, r#"{"a":[1,9]}"#),
    yes("two bounds may be met by different elements", r#"{"a":{"$gt":3,"$lt":2}}"#, r#"{"a":[1,4]}"#),
    no("a bound that no element meets", r#"{"a":{"$gt":3,"$lt":2}}"#, r#"{"a":[2,3]}"#),
    yes("arrays compare element by element", r#"{"a":{"$gt":[1,2]}}"#, r#"{"a":[1,3]}"#),
    yes("a shorter array is less", r#"{"a":{"$lt":[1,2]}}"#, r#"{"a":[1]}"#),
    no("a range of arrays finds no number", r#"{"a":{"$gte":[]}}"#, r#"{"a":1}"#),
    yes("a range of arrays finds an inner array", r#"{"a":{"$gte":[5]}}"#, r#"{"a":[1,[6]]}"#),
    yes("types order the elements of arrays", r#"{"a":{"$gt":[1]}}"#, r#"{"a":["a"]}"#),
    no("a range on an empty array", r#"{"a":{"$gte":0}}"#, r#"{"a":[]}"#),
    // Objects
    yes("equality with an object", r#"{"a":{"b":1}}"#, r#"{"a":{"b":1}}"#),
    no("an object is not part of a larger one", r#"{"a":{"b":1}}"#, r#"{"a":{"b":1,"c":2}}"#),
    yes("the empty object equals itself", r#"{"a":{}}"#, r#"{"a":{}}"#),
    no("the empty object is not any object", r#"{"a":{}}"#, r#"{"a":{"b":1}}"#),
    yes("equality with an object in an array", r#"{"a":{"b":1}}"#, r#"{"a":[{"b":1}]}"#),
    no("null inside an object is not missing", r#"{"a":{"b":null}}"#, r#"{"a":{}}"#),
    yes("objects are equal deep down", r#"{"a":{"b":{"c":[1,{"d":null}]}}}"#, r#"{"a":{"b":{"c":[1,{"d":null}]}}}"#),
    // Dotted paths
    yes("a path into an object", r#"{"a.b":1}"#, r#"{"a":{"b":1}}"#),
    yes("a deep path", r#"{"a.b.c":1}"#, r#"{"a":{"b":{"c":1}}}"#),
    no("a path that ends early", r#"{"a.b":1}"#, r#"{"a":1}"#),
    no("a path that ends in an object", r#"{"a.b":1}"#, r#"{"a":{"b":{"c":1}}}"#),
    yes("a path through an array of objects", r#"{"a.b":1}"#, r#"{"a":[{"b":2},{"b":1}]}"#),
    yes("a path through arrays twice", r#"{"a.b.c":3}"#, r#"{"a":[{"b":[{"c":1},{"c":3}]}]}"#),
    yes("a path that ends in arrays inside objects", r#"{"a.b":2}"#, r#"{"a":[{"b":[1,2]}]}"#),
    no("a path does not enter an array inside an array", r#"{"a.b":1}"#, r#"{"a":[[{"b":1}]]}"#),
    yes("objects of one array meet two bounds together", r#"{"a.b":{"$gt":3,"$lt":2}}"#, r#"{"a":[{"b":1},{"b":4}]}"#),
    yes("two paths may be met by different objects", r#"{"a.b":1,"a.c":2}"#, r#"{"a":[{"b":1},{"c":2}]}"#),
    // Indexes
    yes("an index names an element", r#"{"a.1":7}"#, r#"{"a":[5,7]}"#),
    no("an index names only that element", r#"{"a.1":5}"#, r#"{"a":[5,7]}"#),
    no("an index past the end", r#"{"a.2":null}"#, r#"{"a":[5,7]}"#),
    yes("an index names an inner array", r#"{"a.1":[2,4]}"#, r#"{"a":[5,[2,4]]}"#),
    no("an inner array named by index is not entered", r#"{"a.1":2}"#, r#"{"a":[5,[2,4]]}"#),
    yes("an index, then a name", r#"{"a.1.b":4}"#, r#"{"a":[5,{"b":4}]}"#),
    no("an index, then a name, elsewhere", r#"{"a.0.b":4}"#, r#"{"a":[5,{"b":4}]}"#),
    yes("two indexes", r#"{"a.1.0":2}"#, r#"{"a":[5,[2,4]]}"#),
    yes("an index, then into an inner array", r#"{"a.0.b":1}"#, r#"{"a":[[{"b":1}]]}"#),
    yes("a number names a property", r#"{"a.0":1}"#, r#"{"a":{"0":1}}"#),
    yes("a number names a property of an element", r#"{"a.1":4}"#, r#"{"a":[5,{"1":4}]}"#),
    no("an index has no leading zero", r#"{"a.01":7}"#, r#"{"a":[5,7]}"#),
    yes("a name that is missing from an element reached by index", r#"{"a.0.b":null}"#, r#"{"a":[{"c":1}]}"#),
    yes("an index tried as a name is missing", r#"{"a.0.b":null}"#, r#"{"a":[{"b":1}]}"#),
    // $in and $nin
    yes("$in", r#"{"a":{"$in":[1,2]}}"#, r#"{"a":2}"#),
    no("$in without it", r#"{"a":{"$in":[1,2]}}"#, r#"{"a":3}"#),
    no("$in of nothing", r#"{"a":{"$in":[]}}"#, r#"{"a":1}"#),
    no("$in on missing", r#"{"a":{"$in":[1]}}"#, r"{}"),
    yes("$in finds an element", r#"{"a":{"$in":[2,9]}}"#, r#"{"a":[1,2]}"#),
    yes("$in with an array", r#"{"a":{"$in":[[1,2]]}}"#, r#"{"a":[1,2]}"#),
    yes("$in with mixed types", r#"{"a":{"$in":["x",1,true,{"b":1}]}}"#, r#"{"a":{"b":1}}"#),
    no("$in does not mix types up", r#"{"a":{"$in":["1",true]}}"#, r#"{"a":1}"#),
    yes("$nin", r#"{"a":{"$nin":[1,2]}}"#, r#"{"a":3}"#),
    no("$nin with it", r#"{"a":{"$nin":[1,2]}}"#, r#"{"a":1}"#),
    yes("$nin on missing", r#"{"a":{"$nin":[1]}}"#, r"{}"),
    no("$nin with null on missing", r#"{"a":{"$nin":[null]}}"#, r"{}"),
    no("$nin where one element is there", r#"{"a":{"$nin":[1]}}"#, r#"{"a":[1,2]}"#),
    yes("$nin of nothing", r#"{"a":{"$nin":[]}}"#, r#"{"a":1}"#),
    // $ne
    yes("$ne", r#"{"a":{"$ne":1}}"#, r#"{"a":2}"#),
    no("$ne on the value", r#"{"a":{"$ne":1}}"#, r#"{"a":1}"#),
    yes("$ne on missing", r#"{"a":{"$ne":1}}"#, r"{}"),
    yes("$ne on another type", r#"{"a":{"$ne":1}}"#, r#"{"a":"1"}"#),
    no("$ne where one element equals", r#"{"a":{"$ne":1}}"#, r#"{"a":[1,2]}"#),
    yes("$ne with an array", r#"{"a":{"$ne":[1,2]}}"#, r#"{"a":[2,1]}"#),
    no("$ne through objects of an array", r#"{"a.b":{"$ne":1}}"#, r#"{"a":[{"b":1},{"b":2}]}"#),
    yes("$ne through an empty array", r#"{"a.b":{"$ne":1}}"#, r#"{"a":[]}"#),
    // $exists
    yes("$exists", r#"{"a":{"$exists":true}}"#, r#"{"a":1}"#),
    yes("null exists", r#"{"a":{"$exists":true}}"#, r#"{"a":null}"#),
    yes("an empty array exists", r#"{"a":{"$exists":true}}"#, r#"{"a":[]}"#),
    no("missing does not exist", r#"{"a":{"$exists":true}}"#, r"{}"),
    yes("$exists false on missing", r#"{"a":{"$exists":false}}"#, r"{}"),
    no("$exists false on null", r#"{"a":{"$exists":false}}"#, r#"{"a":null}"#),
    yes("$exists in one of the objects", r#"{"a.b":{"$exists":true}}"#, r#"{"a":[{"c":1},{"b":1}]}"#),
    no("$exists false wants it in none", r#"{"a.b":{"$exists":false}}"#, r#"{"a":[{"c":1},{"b":1}]}"#),
    yes("$exists false through an empty array", r#"{"a.b":{"$exists":false}}"#, r#"{"a":[]}"#),
    yes("$exists false through a scalar", r#"{"a.b":{"$exists":false}}"#, r#"{"a":1}"#),
    yes("$exists with 1", r#"{"a":{"$exists":1}}"#, r#"{"a":1}"#),
    yes("$exists with 0", r#"{"a":{"$exists":0}}"#, r"{}"),
    yes("an element exists by its index", r#"{"a.1":{"$exists":true}}"#, r#"{"a":[1,2]}"#),
    yes("no element past the end exists", r#"{"a.2":{"$exists":false}}"#, r#"{"a":[1,2]}"#),
    // $and, $or, $nor
    yes("$and", r#"{"$and":[{"a":1},{"b":2}]}"#, r#"{"a":1,"b":2}"#),
    no("$and of which one fails", r#"{"$and":[{"a":1},{"b":2}]}"#, r#"{"a":1,"b":3}"#),
    yes("$and on one field", r#"{"$and":[{"a":{"$gt":1}},{"a":{"$lt":3}}]}"#, r#"{"a":2}"#),
    yes("$or", r#"{"$or":[{"a":1},{"b":2}]}"#, r#"{"a":5,"b":2}"#),
    no("$or of which none fits", r#"{"$or":[{"a":1},{"b":2}]}"#, r#"{"a":2,"b":1}"#),
    yes("$or beside a field", r#"{"c":3,"$or":[{"a":1},{"a":2}]}"#, r#"{"a":2,"c":3}"#),
    no("$or beside a field that fails", r#"{"c":3,"$or":[{"a":1},{"a":2}]}"#, r#"{"a":2,"c":4}"#),
    yes("$or with an empty branch", r#"{"$or":[{"a":1},{}]}"#, r#"{"a":2}"#),
    yes("$nor", r#"{"$nor":[{"a":1},{"b":2}]}"#, r#"{"a":2,"b":1}"#),
    no("$nor of which one fits", r#"{"$nor":[{"a":1},{"b":2}]}"#, r#"{"a":2,"b":2}"#),
    yes("$nor on missing", r#"{"$nor":[{"a":1}]}"#, r"{}"),
    yes("nested logic", r#"{"$and":[{"$or":[{"a":1},{"b":1}]},{"$nor":[{"c":1}]}]}"#, r#"{"b":1,"c":2}"#),
    // $not
    yes("$not", r#"{"a":{"$not":{"$gt":5}}}"#, r#"{"a":3}"#),
    no("$not of what holds", r#"{"a":{"$not":{"$gt":5}}}"#, r#"{"a":9}"#),
    yes("$not on missing", r#"{"a":{"$not":{"$gt":5}}}"#, r"{}"),
    yes("$not on another type", r#"{"a":{"$not":{"$gt":5}}}"#, r#"{"a":"x"}"#),
    no("$not where one element fits", r#"{"a":{"$not":{"$gt":5}}}"#, r#"{"a":[1,9]}"#),
    yes("$not of two, one of which fails", r#"{"a":{"$not":{"$gt":5,"$lt":8}}}"#, r#"{"a":9}"#),
    yes("$not of $not", r#"{"a":{"$not":{"$not":{"$eq":1}}}}"#, r#"{"a":1}"#),
    yes("$not beside another", r#"{"a":{"$gt":1,"$not":{"$gt":5}}}"#, r#"{"a":3}"#),
    no("$not of $exists false", r#"{"a":{"$not":{"$exists":false}}}"#, r"{}"),
    yes("$not of a regex", r#"{"a":{"$not":{"$regex":"^x"}}}"#, r#"{"a":"ax"}"#),
    no("$not of $size", r#"{"a":{"$not":{"$size":1}}}"#, r#"{"a":[1]}"#),
    yes("$not of $elemMatch on no array", r#"{"a":{"$not":{"$elemMatch":{"$gt":1}}}}"#, r#"{"a":5}"#),
    // $all
    yes("$all", r#"{"a":{"$all":[1,2]}}"#, r#"{"a":[2,3,1]}"#),
    no("$all of which one is not there", r#"{"a":{"$all":[1,4]}}"#, r#"{"a":[1,2]}"#),
    yes("$all of one on a scalar", r#"{"a":{"$all":[1]}}"#, r#"{"a":1}"#),
    no("$all of two on a scalar", r#"{"a":{"$all":[1,2]}}"#, r#"{"a":1}"#),
    no("$all of nothing matches nothing", r#"{"a":{"$all":[]}}"#, r#"{"a":[]}"#),
    yes("$all with the whole array", r#"{"a":{"$all":[[1,2]]}}"#, r#"{"a":[1,2]}"#),
    yes("$all with an element that is an array", r#"{"a":{"$all":[[1],[2]]}}"#, r#"{"a":[[1],[2]]}"#),
    yes("$all with null on missing", r#"{"a":{"$all":[null]}}"#, r"{}"),
    yes("$all over objects of an array", r#"{"a.b":{"$all":[1,2]}}"#, r#"{"a":[{"b":1},{"b":2}]}"#),
    yes("$all of $elemMatch", r#"{"a":{"$all":[{"$elemMatch":{"b":1,"c":1}},{"$elemMatch":{"b":2}}]}}"#, r#"{"a":[{"b":1,"c":1},{"b":2}]}"#),
    no("$all of $elemMatch of which one fails", r#"{"a":{"$all":[{"$elemMatch":{"b":1,"c":1}},{"$elemMatch":{"b":2}}]}}"#, r#"{"a":[{"b":1,"c":2},{"b":2}]}"#),
    // $elemMatch
    yes("$elemMatch of values", r#"{"a":{"$elemMatch":{"$gt":1,"$lt":5}}}"#, r#"{"a":[0,3]}"#),
    no("$elemMatch wants one element for all", r#"{"a":{"$elemMatch":{"$gt":1,"$lt":5}}}"#, r#"{"a":[0,9]}"#),
    no("$elemMatch wants an array", r#"{"a":{"$elemMatch":{"$gt":1}}}"#, r#"{"a":3}"#),
    no("$elemMatch on missing", r#"{"a":{"$elemMatch":{"$gt":1}}}"#, r"{}"),
    no("$elemMatch on an empty array", r#"{"a":{"$elemMatch":{"$ne":1}}}"#, r#"{"a":[]}"#),
    yes("$elemMatch with $ne wants one that differs", r#"{"a":{"$elemMatch":{"$ne":1}}}"#, r#"{"a":[1,2]}"#),
    no("$elemMatch of values does not enter an inner array", r#"{"a":{"$elemMatch":{"$eq":1}}}"#, r#"{"a":[[1]]}"#),
    yes("$elemMatch inside $elemMatch enters it", r#"{"a":{"$elemMatch":{"$elemMatch":{"$eq":1}}}}"#, r#"{"a":[[0,1]]}"#),
    yes("$elemMatch with $in", r#"{"a":{"$elemMatch":{"$in":[7,8]}}}"#, r#"{"a":[1,8]}"#),
    yes("$elemMatch with $not", r#"{"a":{"$elemMatch":{"$not":{"$gt":5}}}}"#, r#"{"a":[9,1]}"#),
    no("$elemMatch with $not and no such element", r#"{"a":{"$elemMatch":{"$not":{"$gt":5}}}}"#, r#"{"a":[9,8]}"#),
    yes("$elemMatch with null", r#"{"a":{"$elemMatch":{"$eq":null}}}"#, r#"{"a":[1,null]}"#),
    yes("$elemMatch with $size", r#"{"a":{"$elemMatch":{"$size":2}}}"#, r#"{"a":[[1],[1,2]]}"#),
    yes("$elemMatch with a regex", r#"{"a":{"$elemMatch":{"$regex":"^x"}}}"#, r#"{"a":["ax","xa"]}"#),
    yes("$elemMatch of objects", r#"{"a":{"$elemMatch":{"b":1,"c":2}}}"#, r#"{"a":[{"b":1,"c":2}]}"#),
    no("$elemMatch of objects wants one for all", r#"{"a":{"$elemMatch":{"b":1,"c":2}}}"#, r#"{"a":[{"b":1},{"c":2}]}"#),
    no("$elemMatch of objects wants an array", r#"{"a":{"$elemMatch":{"b":1}}}"#, r#"{"a":{"b":1}}"#),
    yes("$elemMatch of objects with logic", r#"{"a":{"$elemMatch":{"$or":[{"b":1},{"b":2}]}}}"#, r#"{"a":[{"b":2}]}"#),
    yes("$elemMatch of objects with a missing field", r#"{"a":{"$elemMatch":{"b":null}}}"#, r#"{"a":[{"c":1}]}"#),
    no("$elemMatch of objects skips scalars", r#"{"a":{"$elemMatch":{"b":null}}}"#, r#"{"a":[1,2]}"#),
    yes("$elemMatch at a deep path", r#"{"a.b":{"$elemMatch":{"$gt":1,"$lt":5}}}"#, r#"{"a":[{"b":[9]},{"b":[3]}]}"#),
    yes("$elemMatch with a deep path inside", r#"{"a":{"$elemMatch":{"b.c":1}}}"#, r#"{"a":[{"b":[{"c":1}]}]}"#),
    yes("an empty $elemMatch wants an object", r#"{"a":{"$elemMatch":{}}}"#, r#"{"a":[1,{}]}"#),
    no("an empty $elemMatch finds no scalar", r#"{"a":{"$elemMatch":{}}}"#, r#"{"a":[1]}"#),
    yes("an inner array is a document named by its indexes", r#"{"a":{"$elemMatch":{"0":1}}}"#, r#"{"a":[[1]]}"#),
    yes("an inner array is one behind a scalar too", r#"{"a":{"$elemMatch":{"0":1}}}"#, r#"{"a":[7,[1]]}"#),
    yes("an inner array has further indexes", r#"{"a":{"$elemMatch":{"1":8}}}"#, r#"{"a":[[7,8]]}"#),
    yes("an inner array has no names", r#"{"a":{"$elemMatch":{"b":null}}}"#, r#"{"a":[[1],{"b":2}]}"#),
    yes("$elemMatch at an index", r#"{"a.0":{"$elemMatch":{"$gt":1}}}"#, r#"{"a":[[1,2]]}"#),
    // $size
    yes("$size", r#"{"a":{"$size":2}}"#, r#"{"a":[1,2]}"#),
    no("$size of another length", r#"{"a":{"$size":2}}"#, r#"{"a":[1]}"#),
    yes("$size 0", r#"{"a":{"$size":0}}"#, r#"{"a":[]}"#),
    no("$size on a scalar", r#"{"a":{"$size":1}}"#, r#"{"a":1}"#),
    no("$size 0 on missing", r#"{"a":{"$size":0}}"#, r"{}"),
    no("$size does not look at inner arrays", r#"{"a":{"$size":2}}"#, r#"{"a":[[1,2]]}"#),
    yes("$size through objects of an array", r#"{"a.b":{"$size":1}}"#, r#"{"a":[{"b":[]},{"b":[1]}]}"#),
    yes("$size at an index", r#"{"a.0":{"$size":2}}"#, r#"{"a":[[1,2]]}"#),
    // $type
    yes("$type string", r#"{"a":{"$type":"string"}}"#, r#"{"a":"x"}"#),
    no("$type string on a number", r#"{"a":{"$type":"string"}}"#, r#"{"a":1}"#),
    yes("$type number", r#"{"a":{"$type":"number"}}"#, r#"{"a":1.5}"#),
    yes("$type int", r#"{"a":{"$type":"int"}}"#, r#"{"a":5}"#),
    no("$type int beyond 32 bits", r#"{"a":{"$type":"int"}}"#, r#"{"a":5000000000}"#),
    yes("$type long", r#"{"a":{"$type":"long"}}"#, r#"{"a":5000000000}"#),
    no("$type long within 32 bits", r#"{"a":{"$type":"long"}}"#, r#"{"a":5}"#),
    yes("$type double", r#"{"a":{"$type":"double"}}"#, r#"{"a":1.5}"#),
    yes("$type object", r#"{"a":{"$type":"object"}}"#, r#"{"a":{}}"#),
    yes("$type array on the array itself", r#"{"a":{"$type":"array"}}"#, r#"{"a":[1]}"#),
    yes("$type finds an element", r#"{"a":{"$type":"string"}}"#, r#"{"a":[1,"x"]}"#),
    yes("$type bool", r#"{"a":{"$type":"bool"}}"#, r#"{"a":false}"#),
    yes("$type null", r#"{"a":{"$type":"null"}}"#, r#"{"a":null}"#),
    no("missing has no type", r#"{"a":{"$type":"null"}}"#, r"{}"),
    yes("$type by number", r#"{"a":{"$type":2}}"#, r#"{"a":"x"}"#),
    yes("$type by any of several", r#"{"a":{"$type":["string","null"]}}"#, r#"{"a":null}"#),
    yes("$type array of an empty array", r#"{"a":{"$type":4}}"#, r#"{"a":[]}"#),
    // $regex
    yes("$regex anywhere", r#"{"a":{"$regex":"b"}}"#, r#"{"a":"abc"}"#),
    no("$regex without a match", r#"{"a":{"$regex":"^b"}}"#, r#"{"a":"abc"}"#),
    yes("$regex from the start", r#"{"a":{"$regex":"^ab"}}"#, r#"{"a":"abc"}"#),
    no("$regex on a number", r#"{"a":{"$regex":"1"}}"#, r#"{"a":1}"#),
    no("$regex on missing", r#"{"a":{"$regex":""}}"#, r"{}"),
    yes("$regex finds an element", r#"{"a":{"$regex":"^x"}}"#, r#"{"a":["a","xy"]}"#),
    yes("$regex with i", r#"{"a":{"$regex":"ABC","$options":"i"}}"#, r#"{"a":"xabcx"}"#),
    no("$regex without i", r#"{"a":{"$regex":"ABC"}}"#, r#"{"a":"abc"}"#),
    yes("$regex with an option inside", r#"{"a":{"$regex":"(?i)ABC"}}"#, r#"{"a":"abc"}"#),
    no("without m an anchor is the start of the text", r#"{"a":{"$regex":"^b"}}"#, r#"{"a":"a\nb"}"#),
    yes("with m an anchor is the start of a line", r#"{"a":{"$regex":"^b","$options":"m"}}"#, r#"{"a":"a\nb"}"#),
    no("without s a dot is no line break", r#"{"a":{"$regex":"a.b"}}"#, r#"{"a":"a\nb"}"#),
    yes("with s a dot is a line break", r#"{"a":{"$regex":"a.b","$options":"s"}}"#, r#"{"a":"a\nb"}"#),
    yes("with x blanks do not count", r#"{"a":{"$regex":"a b # c","$options":"x"}}"#, r#"{"a":"ab"}"#),
    yes("a dollar stands before a last line break", r#"{"a":{"$regex":"b$"}}"#, r#"{"a":"ab\n"}"#),
    no("a dollar does not stand before two", r#"{"a":{"$regex":"b$"}}"#, r#"{"a":"ab\n\n"}"#),
    no("digits are ASCII", r#"{"a":{"$regex":"\\d"}}"#, r#"{"a":"٣"}"#),
    no("words are ASCII", r#"{"a":{"$regex":"^\\w+$"}}"#, r#"{"a":"né"}"#),
    yes("word boundaries are ASCII", r#"{"a":{"$regex":"\\bb"}}"#, r#"{"a":"éb"}"#),
    yes("letters of other scripts have case", r#"{"a":{"$regex":"ÄÖ","$options":"i"}}"#, r#"{"a":"äö"}"#),
    yes("a counted repetition", r#"{"a":{"$regex":"^(ab){2,3}$"}}"#, r#"{"a":"abab"}"#),
    yes("alternatives", r#"{"a":{"$regex":"^(cat|dog)s?$"}}"#, r#"{"a":"dogs"}"#),
    no("a pattern that backtracks badly", r#"{"a":{"$regex":"^(a+)+$"}}"#, r#"{"a":"aaaaaaaaaaaab"}"#),
    yes("$regex beside a range", r#"{"a":{"$regex":"x","$gt":"b"}}"#, r#"{"a":"cx"}"#),
    yes("$regex at a deep path", r#"{"a.b":{"$regex":"^z"}}"#, r#"{"a":[{"b":"y"},{"b":"zz"}]}"#),
    // Names
    yes("_system is an ordinary path", r#"{"_system.ov":{"$gte":2}}"#, r#"{"_system":{"ov":3}}"#),
    yes("_id is an ordinary path", r#"{"_id":"x"}"#, r#"{"_id":"x"}"#),
    yes("_id among several", r#"{"_id":{"$in":["x","y"]}}"#, r#"{"_id":"y"}"#),
    no("_id of another", r#"{"_id":{"$in":["x","y"]}}"#, r#"{"_id":"z"}"#),
    yes("names may hold any letters", r#"{"größe.名":1}"#, r#"{"größe":{"名":1}}"#),
    yes("a name with a dollar inside", r#"{"a.b$":1}"#, r#"{"a":{"b$":1}}"#),
];

/// What is decided differently from MongoDB; the answers are this crate's.
#[rustfmt::skip]
pub const DEPARTURES: &[Case] = &[
    yes("the order of fields does not count", r#"{"a":{"b":1,"c":2}}"#, r#"{"a":{"c":2,"b":1}}"#),
    yes("objects compare by name before type", r#"{"a":{"$gt":{"b":"x"}}}"#, r#"{"a":{"c":1}}"#),
    yes("typed dates are text", r#"{"a":{"$date":"2024-01-01T01:00:00+01:00"}}"#, r#"{"a":"2024-01-01T00:00:00.000Z"}"#),
    yes("a date operand is text", r#"{"a":{"$gte":{"$date":"2024-01-01T00:00:00Z"}}}"#, r#"{"a":"2024-01-01T00:00:00.000Z"}"#),
    yes("an integer is known by its value", r#"{"a":{"$type":"int"}}"#, r#"{"a":5.0}"#),
    yes("a dot in a name is escaped", r#"{"a\\.b":1}"#, r#"{"a.b":1}"#),
    yes("bare times are those of _system", r#"{"insertedAt":{"$gte":"2024"}}"#, r#"{"_system":{"insertedAt":"2024-01-01T00:00:00.000Z"}}"#),
    no("unless the document has them", r#"{"insertedAt":{"$gte":"2024"}}"#, r#"{"insertedAt":1,"_system":{"insertedAt":"2024-01-01T00:00:00.000Z"}}"#),
    yes("a bare time may be null", r#"{"deletedAt":null}"#, r#"{"_system":{"deletedAt":null}}"#),
];

/// Filters that are refused, and why.
#[rustfmt::skip]
pub const INVALID: &[(&str, &str)] = &[
    ("a filter that is an array", r"[]"),
    ("a filter that is text", r#""a""#),
    ("an unknown operator at a field", r#"{"a":{"$foo":1}}"#),
    ("an unknown operator in place of a field", r#"{"$foo":1}"#),
    ("an operator of fields in their place", r#"{"$gt":1}"#),
    ("$not in place of a field", r#"{"$not":{"a":1}}"#),
    ("an operator of documents at a field", r#"{"a":{"$or":[{"b":1}]}}"#),
    ("code", r#"{"$where":"true"}"#),
    ("an expression", r#"{"$expr":{"$eq":[1,1]}}"#),
    ("text search", r#"{"$text":{"$search":"x"}}"#),
    ("operators and plain names", r#"{"a":{"$gt":1,"b":2}}"#),
    ("plain names and operators", r#"{"a":{"b":2,"$gt":1}}"#),
    ("$and that is no array", r#"{"$and":{"a":1}}"#),
    ("$and of nothing", r#"{"$and":[]}"#),
    ("$or of nothing", r#"{"$or":[]}"#),
    ("$nor of nothing", r#"{"$nor":[]}"#),
    ("$or of no filter", r#"{"$or":[1]}"#),
    ("$in that is no array", r#"{"a":{"$in":1}}"#),
    ("$nin that is no array", r#"{"a":{"$nin":"x"}}"#),
    ("$in with an operator", r#"{"a":{"$in":[{"$gt":1}]}}"#),
    ("$in with a regex", r#"{"a":{"$in":[{"$regex":"x"}]}}"#),
    ("$all that is no array", r#"{"a":{"$all":1}}"#),
    ("$all with an operator", r#"{"a":{"$all":[{"$gt":1}]}}"#),
    ("$all that mixes $elemMatch and values", r#"{"a":{"$all":[{"$elemMatch":{"b":1}},1]}}"#),
    ("$all that mixes values and $elemMatch", r#"{"a":{"$all":[1,{"$elemMatch":{"b":1}}]}}"#),
    ("$elemMatch that is no object", r#"{"a":{"$elemMatch":1}}"#),
    ("$elemMatch that mixes values and objects", r#"{"a":{"$elemMatch":{"$gt":1,"b":2}}}"#),
    ("$not that is no object", r#"{"a":{"$not":1}}"#),
    ("$not of nothing", r#"{"a":{"$not":{}}}"#),
    ("$not of a plain object", r#"{"a":{"$not":{"b":1}}}"#),
    ("$size below zero", r#"{"a":{"$size":-1}}"#),
    ("$size with a fraction", r#"{"a":{"$size":1.5}}"#),
    ("$size that is no number", r#"{"a":{"$size":"1"}}"#),
    ("$type without a type", r#"{"a":{"$type":[]}}"#),
    ("$type that nobody knows", r#"{"a":{"$type":"text"}}"#),
    ("$type that JSON lacks", r#"{"a":{"$type":"objectId"}}"#),
    ("$type of dates", r#"{"a":{"$type":"date"}}"#),
    ("$type by an unknown number", r#"{"a":{"$type":42}}"#),
    ("$exists that is text", r#"{"a":{"$exists":"yes"}}"#),
    ("$regex that is no text", r#"{"a":{"$regex":1}}"#),
    ("$options alone", r#"{"a":{"$options":"i"}}"#),
    ("$options that nobody knows", r#"{"a":{"$regex":"a","$options":"g"}}"#),
    ("a regex that is broken", r#"{"a":{"$regex":"("}}"#),
    ("a regex that looks ahead", r#"{"a":{"$regex":"(?=a)"}}"#),
    ("a regex that refers back", r#"{"a":{"$regex":"(a)\\1"}}"#),
    ("a regex with a Unicode class", r#"{"a":{"$regex":"\\p{L}"}}"#),
    ("a regex with a possessive repetition", r#"{"a":{"$regex":"a++"}}"#),
    ("a broken date", r#"{"a":{"$gt":{"$date":"soon"}}}"#),
    ("an empty segment", r#"{"a..b":1}"#),
    ("an empty name", r#"{"":1}"#),
    ("an unknown typed value", r#"{"a":{"$oid":"507f1f77bcf86cd799439011"}}"#),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::Value;

    use super::*;
    use crate::{Filter, Narrow, json};

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_matcher_gives_these_answers_and_narrowing_admits_them() {
        for case in CASES.iter().chain(DEPARTURES) {
            let filter = Filter::parse(&parsed(case.filter))
                .unwrap_or_else(|e| panic!("{}: {e}", case.name));
            let doc = json::normalize(parsed(case.doc)).unwrap();
            assert_eq!(
                filter.matches(&doc),
                case.matches,
                "{}: {} on {}",
                case.name,
                case.filter,
                case.doc
            );
            if case.matches {
                let narrow = Narrow::of(&filter);
                assert!(
                    narrow.admits(&doc),
                    "{}: {} on {}: {narrow:?}",
                    case.name,
                    case.filter,
                    case.doc
                );
            }
        }
    }

    #[test]
    fn invalid_filters_are_refused() {
        for (name, filter) in INVALID {
            assert!(Filter::parse(&parsed(filter)).is_err(), "{name}: {filter}");
        }
    }

    #[test]
    fn every_rule_is_named_once() {
        assert!(CASES.len() >= 150, "{}", CASES.len());
        let mut names = HashSet::new();
        for name in CASES.iter().chain(DEPARTURES).map(|case| case.name) {
            assert!(names.insert(name), "{name}");
        }
    }
}
