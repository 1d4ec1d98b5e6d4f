//! Failures, commands, answers and time to decisions.
