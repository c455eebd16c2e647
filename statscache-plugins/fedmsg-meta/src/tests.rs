//! The rules against the messages of the reference data, which is kept out of this repository.

mod corpus;
