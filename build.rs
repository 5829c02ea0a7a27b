//! Takes the few files that the page at `/docs` needs out of Swagger UI's archive, which a crate carries. Nothing is downloaded.
//!
//! Each is compressed in the archive by the method that gzip uses. So what is written is that very stream between gzip's
//! own head and tail: browsers unpack it, and neither the build nor the server needs a compressor.

use std::{
    env,
    error::Error,
    fs,
    io::{Cursor, Read as _},
    path::Path,
};

use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::{CompressionMethod, ZipArchive};

/// A gzip head that says "deflated" and tells neither name nor time.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// The files, below the one folder that the archive holds.
const WANTED: [&str; 3] = ["dist/swagger-ui-bundle.js", "dist/swagger-ui.css", "LICENSE"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let folder = env::var("OUT_DIR")?;
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    // The folder is named by the version.
    let first = archive.name_for_index(0).ok_or("Swagger UI's archive is empty")??;
    let root = first.split('/').next().unwrap_or_default().to_owned();
    for wanted in WANTED {
        let place = archive.index_for_name(&format!("{root}/{wanted}"));
        let place = place.ok_or_else(|| format!("Swagger UI's archive holds no {wanted}"))?;
        let name = wanted.rsplit('/').next().unwrap_or(wanted);
        fs::write(Path::new(&folder).join(format!("{name}.gz")), gzipped(&mut archive, place)?)?;
    }
    Ok(())
}

/// The file at `place`, as gzip would write it.
fn gzipped(archive: &mut ZipArchive<Cursor<&[u8]>>, place: usize) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut file = archive.by_index_raw(place)?;
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
