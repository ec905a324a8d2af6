//! What is held to a promise: models, with their receipts where they have one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{
    exit,
    receipt::Receipt,
    run_folder::{MODEL, RECEIPT, RunFolder},
};

/// One model.
pub struct Subject {
    /// As the user named it, or as the file in the folder that the user named.
    pub name: String,
    /// The ONNX file.
    pub model: PathBuf,
    /// What is promised of it, and the folder of the files that ship with it.
    pub receipt: Option<(RunFolder, Box<Receipt>)>,
}

impl Subject {
    /// The model in a run folder, or in any folder with `model.onnx` and `receipt.json`.
    pub fn of_run(path: &Path) -> Result<Self> {
        Self::of_receipt(path.display().to_string(), path, &path.join(RECEIPT))
    }

    /// What `path` names: a receipt, a model, a folder with a receipt, or a folder with models.
    ///
    /// # Errors
    /// There is no such file, or nothing to verify in the folder.
    pub fn at(path: &Path) -> Result<Vec<Self>> {
        let name = path.display().to_string();
        if path.is_dir() {
            return if path.join(RECEIPT).is_file() { Ok(vec![Self::of_run(path)?]) } else { models_in(path) };
        }
        if path.extension().is_some_and(|it| it == "json") {
            let folder = path.parent().unwrap_or(Path::new(""));
            return Ok(vec![Self::of_receipt(name, folder, path)?]);
        }
        if !path.is_file() {
            return Err(exit::file(format!("{name} is missing; name a receipt, an ONNX file or a folder with either")));
        }
        Ok(vec![Self { name, model: path.to_owned(), receipt: None }])
    }

    fn of_receipt(name: String, folder: &Path, receipt: &Path) -> Result<Self> {
        let folder = RunFolder { path: folder.to_owned() };
        let at = receipt.display();
        if !receipt.is_file() {
            return Err(exit::file(format!("{at} is missing; `pipeline measure --run` makes it")));
        }
        let bytes = std::fs::read(receipt).with_context(|| format!("cannot read {at}"))?;
        let receipt = serde_json::from_slice(&bytes).map_err(|error| exit::file(format!("{at}: {error}")))?;
        Ok(Self { name, model: folder.file(MODEL), receipt: Some((folder, Box::new(receipt))) })
    }
}

/// Every ONNX file in a folder, by name.
fn models_in(folder: &Path) -> Result<Vec<Subject>> {
    let at = || format!("cannot list {}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(at)? {
        let path = entry.with_context(at)?.path();
        if path.extension().is_some_and(|it| it == "onnx") {
            found.push(Subject { name: path.display().to_string(), model: path, receipt: None });
        }
    }
    if found.is_empty() {
        return Err(exit::file(format!("{} holds neither {RECEIPT} nor an ONNX file", folder.display())));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
