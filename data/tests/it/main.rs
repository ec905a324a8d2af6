//! The data station from the outside: formats, splits, batches, downloads and real files.

mod batches;
mod check;
mod download;
mod files;
mod folder;
mod formats;
mod front_end;
mod real;
mod robust;
mod scenes;
mod sound;
mod split;
mod text;
