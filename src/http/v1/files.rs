//! `/v1/models/{name}/versions/{reference}/files`: the files of a version.

use crate::domain::{files::FileQuery, manifest::check_path};

use super::{
    super::{
        answer::{self, Answer},
        json::v1::write_files,
        openapi::{BadCursor, DoesNotFit, NotFound},
        request::Call,
        stream::turn_to_start,
    },
    path,
    schema::{ByReference, VersionFiles},
};

/// List the files of a version
///
/// By path, byte by byte. For a version that was registered without files, these are its checkpoint and its configuration.
#[utoipa::path(
    get,
    path = "/v1/models/{name}/versions/{reference}/files",
    operation_id = "v1_list_files",
    params(
        ByReference,
        ("under" = Option<String>, Query, min_length = 1, max_length = 1024, description = "Only what this folder contains."),
        ("recursive" = Option<bool>, Query,
            description = "By default true, and all files are listed. If false, folders are listed in place of what they contain."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 10000,
            description = "Files and folders on a page, by default 1,000."),
        ("cursor" = Option<String>, Query, min_length = 1, description = "The end of the previous page, from its `next`."),
    ),
    responses(
        (status = 200, description = "A page of files.", body = VersionFiles),
        BadCursor, NotFound, DoesNotFit,
    ),
)]
pub(super) async fn list(mut call: Call) -> Answer {
    let version = path::version(&mut call)?;
    let under = call.query_not_empty("under");
    let is_recursive = call.query("recursive").unwrap_or(true);
    let limit = call.limit(FileQuery::DEFAULT_LIMIT.into(), FileQuery::MAX_LIMIT.into());
    let after = call.cursor(FileQuery::LIST_NAME, 0);
    call.check()?;
    let under = under.map(|folder| folder.strip_suffix('/').map(str::to_owned).unwrap_or(folder));
    under.as_deref().map_or(Ok(()), check_path)?;
    let query = FileQuery { version, under, is_recursive, limit, after: after? };
    let _turn = turn_to_start().await?;
    answer::json(write_files(&call.registry().files(query).await?))
}
