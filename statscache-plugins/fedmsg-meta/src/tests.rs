//! What rules mean, and how right the shipped ones are.

mod corpus;
mod engine;
