//! The actions' thread with a real judge and a real runner, beside the original.

mod court;
mod random;
mod recipes;
mod stock;
mod storm;
mod theirs;
