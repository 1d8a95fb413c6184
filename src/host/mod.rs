//! The one door into the engine, and the only reader of the clock: every input passes here and is journalled.
