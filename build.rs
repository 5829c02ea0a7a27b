//! Extracts the files of the page at `/docs` from Swagger UI's archive, which a crate carries. Nothing is downloaded.
//!
//! The archive compresses each file with the method that gzip uses. The output is that same stream between gzip's header
//! and trailer: browsers decompress it, so neither the build nor the server needs a compressor.

#[cfg(feature = "docs-ui")]
mod swagger_ui {
    use std::{
        env,
        error::Error,
        fs,
        io::{Cursor, Read as _},
        path::Path,
    };

    use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
    use zip::{CompressionMethod, ZipArchive};

    /// A gzip header for a deflated stream without name and time.
    const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    /// The files, inside the one folder of the archive.
    const FILES: [&str; 3] = ["dist/swagger-ui-bundle.js", "dist/swagger-ui.css", "LICENSE"];

    /// Writes the files to `OUT_DIR`.
    pub(super) fn extract() -> Result<(), Box<dyn Error>> {
        let folder = env::var("OUT_DIR")?;
        let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
        // The folder is named by the version.
        let first = archive.name_for_index(0).ok_or("Swagger UI's archive is empty")??;
        let root = first.split('/').next().unwrap_or_default().to_owned();
        for file in FILES {
            let index = archive.index_for_name(&format!("{root}/{file}"));
            let index = index.ok_or_else(|| format!("Swagger UI's archive holds no {file}"))?;
            let name = file.rsplit('/').next().unwrap_or(file);
            fs::write(Path::new(&folder).join(format!("{name}.gz")), gzipped(&mut archive, index)?)?;
        }
        Ok(())
    }

    /// Returns the file at an index of the archive, as gzip would write it.
    fn gzipped(archive: &mut ZipArchive<Cursor<&[u8]>>, index: usize) -> Result<Vec<u8>, Box<dyn Error>> {
        let mut file = archive.by_index_raw(index)?;
        if file.compression() != CompressionMethod::DEFLATE {
            return Err("Swagger UI's archive is not deflated".into());
        }
        let (crc32, size) = (file.crc32(), u32::try_from(file.size())?);
        let mut bytes = GZIP_HEAD.to_vec();
        file.read_to_end(&mut bytes)?;
        bytes.extend(crc32.to_le_bytes());
        bytes.extend(size.to_le_bytes());
        Ok(bytes)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "docs-ui")]
    swagger_ui::extract()?;
    Ok(())
}
