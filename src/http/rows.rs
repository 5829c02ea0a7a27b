//! Answers made of rows: lists, comparisons, single versions and events, as sources of the body's stream.
//!
//! The ids of a list come from one snapshot of the database, and the rows of each chunk from another. So a version
//! appears as it is when its chunk is read, and a version that is deleted before that is left out. An answer of one
//! chunk is one snapshot. Events never change, and a page of them stays where it began.

use std::{borrow::Cow, ops::ControlFlow, sync::Arc};

use actix_web::web::Data;

use crate::{
    domain::{
        Comparison, Cursor, EventQuery, ListQuery, Page, SearchQuery, TrailEvent, VersionId, VersionRow,
        query::TrailQuery,
    },
    registry::{ReadStore, Result, StoreError, VisitVersions},
};

use super::{
    app::App,
    json::{self, Form, page_end},
    stream::{Begun, Source, first_limit_bytes, turn_to_start},
};

/// The maximum number of rows that one read requests.
const READ_ROWS: usize = 512;
/// The maximum number of ids that an answer holds. A longer list without a limit continues by keyset, and then lacks a
/// version that changes between two of its parts.
const MAX_IDS: u32 = 2_048;

/// Versions in order, and the texts around them.
#[derive(Clone)]
pub(super) struct Versions {
    app: Data<App>,
    form: Form,
    pieces: Arc<[Piece]>,
    /// The number of pieces that are written.
    written: usize,
    /// True if the next version needs a comma before it.
    needs_comma: bool,
    /// The page with which the list continues after the pieces.
    next_part: Option<Arc<ListQuery>>,
}

enum Piece {
    Text(Cow<'static, str>),
    Version(VersionId),
}

/// Continues a read until there are `limit_bytes`.
pub(super) fn until(limit_bytes: usize, bytes: &[u8]) -> ControlFlow<()> {
    if bytes.len() >= limit_bytes { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

impl Versions {
    fn new(app: &Data<App>, form: Form, pieces: impl IntoIterator<Item = Piece>) -> Self {
        let pieces = pieces.into_iter().collect();
        Self { app: app.clone(), form, pieces, written: 0, needs_comma: false, next_part: None }
    }

    /// Returns a list and its page. Without a limit it is the whole list, in as many parts as that takes.
    pub(super) async fn list(app: &Data<App>, form: Form, query: ListQuery) -> Result<(Begun<Self>, Page)> {
        let first_part = ListQuery { limit: query.limit.or(Some(MAX_IDS)), ..query.clone() };
        let in_parts = query.limit.is_none().then_some(query);
        Self::begin(app, form, in_parts, move |store, visit| store.versions(&first_part, visit)).await
    }

    /// Returns a page of a search.
    pub(super) async fn search(
        app: &Data<App>,
        form: Form,
        query: SearchQuery,
    ) -> Result<(Begun<Self>, Page)> {
        Self::begin(app, form, None, move |store, visit| store.search(&query, visit)).await
    }

    /// Begins with the page that `read` visits. It continues with the rest of the list `in_parts`, if that is given.
    async fn begin(
        app: &Data<App>,
        form: Form,
        in_parts: Option<ListQuery>,
        read: impl FnOnce(
            &mut dyn ReadStore,
            VisitVersions<'_>,
        ) -> std::result::Result<(Page, Vec<VersionId>), StoreError>
        + Send
        + 'static,
    ) -> Result<(Begun<Self>, Page)> {
        let _turn = turn_to_start().await?;
        let limit_bytes = first_limit_bytes();
        let (mut bytes, ids, mut page, rest) = app
            .registry
            .read(move |store| {
                let (mut bytes, mut ids) = (form.list_start().as_bytes().to_vec(), Vec::new());
                let (page, rest) = read(store, &mut |model| {
                    if !ids.is_empty() {
                        bytes.push(b',');
                    }
                    form.write_version(&mut bytes, &model);
                    ids.push(model.id);
                    until(limit_bytes, &bytes)
                })?;
                Ok((bytes, ids, page, rest))
            })
            .await?;
        let next_part = in_parts.and_then(|query| Some(part_after(&query, page.next.take()?)));
        let is_complete = rest.is_empty() && next_part.is_none();
        let end = form.list_end(&page);
        if is_complete {
            bytes.extend_from_slice(end.as_bytes());
        }
        let versions = ids.iter().chain(&rest).copied().map(Piece::Version);
        let end = next_part.is_none().then_some(Piece::Text(end.into()));
        let pieces = [Piece::Text(form.list_start().into())].into_iter().chain(versions).chain(end);
        let before = Self { next_part, ..Self::new(app, form, pieces) };
        let after = Self { written: 1 + ids.len(), needs_comma: !ids.is_empty(), ..before.clone() };
        Ok((Begun { bytes, before, after: (!is_complete).then_some(after), limit_bytes }, page))
    }

    /// Returns one version, which is written already.
    pub(super) fn one(app: &Data<App>, form: Form, id: VersionId, bytes: Vec<u8>) -> Begun<Self> {
        let before = Self::new(app, form, [Piece::Version(id)]);
        Begun { bytes, before, after: None, limit_bytes: 0 }
    }

    /// Returns the versions of `ids` that exist, side by side.
    pub(super) async fn compared(app: &Data<App>, form: Form, ids: Vec<VersionId>) -> Result<Begun<Self>> {
        let compared_versions = app.registry.read(move |store| store.compared_versions(&ids)).await?;
        let Comparison { by_params, by_loss, by_step } = Comparison::of(&compared_versions);
        let mut pieces = Vec::with_capacity(compared_versions.len() * 4 + 5);
        for (text, order) in [
            (r#"{"models":["#, (0..compared_versions.len()).collect()),
            (r#"],"comparison":{"by_params":["#, by_params),
            (r#"],"by_loss":["#, by_loss),
            (r#"],"by_step":["#, by_step),
        ] {
            pieces.push(Piece::Text(text.into()));
            pieces.extend(order.into_iter().map(|index| Piece::Version(compared_versions[index].id)));
        }
        pieces.push(Piece::Text("]}}".into()));
        let _turn = turn_to_start().await?;
        Begun::read(Self::new(app, form, pieces), first_limit_bytes()).await
    }

    /// Looks up the ids of the next part, if all pieces are written.
    async fn with_next_part(self) -> Result<Self> {
        let is_written = self.written == self.pieces.len();
        let Some(query) = self.next_part.clone().filter(|_| is_written) else { return Ok(self) };
        let read = query.clone();
        let (ids, next) = self
            .app
            .registry
            .read(move |store| {
                // Visiting the first row stops the read; the ids of the others come without their rows.
                let mut ids = Vec::new();
                let (page, rest) = store.versions(&read, &mut |model| {
                    ids.push(model.id);
                    ControlFlow::Break(())
                })?;
                ids.extend(rest);
                Ok((ids, page.next))
            })
            .await?;
        // Only a list without a limit has further parts, and so its end has no cursor.
        let end =
            next.is_none().then(|| Piece::Text(self.form.list_end(&Page { total: None, next: None }).into()));
        let pieces = ids.into_iter().map(Piece::Version).chain(end).collect();
        Ok(Self { pieces, written: 0, next_part: next.map(|after| part_after(&query, after)), ..self })
    }

    /// Returns the ids that come next, and the number of pieces that are written once these are.
    fn next_ids(&self) -> (Vec<VersionId>, usize) {
        let (mut ids, mut end) = (Vec::new(), self.written);
        while let Some(piece) = self.pieces.get(end).filter(|_| ids.len() < READ_ROWS) {
            if let Piece::Version(id) = piece {
                ids.push(*id);
            }
            end += 1;
        }
        (ids, end)
    }

    /// Writes a version and the texts before it. Versions before it that were deleted are left out.
    fn write(&mut self, out: &mut Vec<u8>, model: &VersionRow<'_>) {
        let is_it = |piece: &Piece| matches!(piece, Piece::Version(id) if *id == model.id);
        let skipped = self.pieces[self.written..].iter().position(is_it).unwrap_or_default();
        self.write_texts(out, self.written + skipped);
        if std::mem::replace(&mut self.needs_comma, true) {
            out.push(b',');
        }
        self.form.write_version(out, model);
        self.written += 1;
    }

    /// Writes the texts among the pieces before `end`.
    fn write_texts(&mut self, out: &mut Vec<u8>, end: usize) {
        for piece in &self.pieces[self.written..end] {
            if let Piece::Text(text) = piece {
                out.extend_from_slice(text.as_bytes());
                self.needs_comma = false;
            }
        }
        self.written = end;
    }
}

fn part_after(query: &ListQuery, after: Cursor) -> Arc<ListQuery> {
    Arc::new(ListQuery { limit: Some(MAX_IDS), offset: 0, after: Some(after), ..query.clone() })
}

impl Source for Versions {
    async fn read(self, limit_bytes: usize) -> Result<(Vec<u8>, Option<Self>)> {
        let app = self.app.clone();
        let mut rest = self.with_next_part().await?;
        let read = app.registry.read(move |store| {
            let (ids, mut end) = rest.next_ids();
            let mut bytes = Vec::new();
            store.versions_with_ids(&ids, &mut |model| {
                rest.write(&mut bytes, &model);
                until(limit_bytes, &bytes)
            })?;
            if bytes.len() >= limit_bytes {
                let pieces = rest.pieces[rest.written..].iter();
                end = rest.written + pieces.take_while(|piece| matches!(piece, Piece::Text(_))).count();
            }
            rest.write_texts(&mut bytes, end);
            let is_complete = rest.written == rest.pieces.len() && rest.next_part.is_none();
            Ok((bytes, (!is_complete).then_some(rest)))
        });
        read.await
    }
}

/// Called with the id of each event and a function that writes it.
type AddEvent<'a> = &'a mut dyn FnMut(i64, &dyn Fn(&mut Vec<u8>)) -> ControlFlow<()>;

/// A list of events, newest first if it does not say otherwise.
#[derive(Debug, Clone)]
pub(super) enum EventList {
    /// The events of a version, in the JSON of 0.2.0.
    OfVersion(EventQuery),
    /// The trail, in the JSON of `/v1`.
    Trail(TrailQuery),
    /// What follows an event in the trail, in order.
    InOrder(TrailQuery, WriteEvent),
}

/// Writes an event of the trail.
pub(super) type WriteEvent = fn(&mut Vec<u8>, &TrailEvent<'_>);

impl EventList {
    /// Reads events until `add` breaks. `last` is the last
    /// event that was read already.
    fn read(
        &mut self,
        store: &mut dyn ReadStore,
        limit: u32,
        last: Option<i64>,
        add: AddEvent<'_>,
    ) -> std::result::Result<Page, StoreError> {
        let before = last;
        match self {
            Self::OfVersion(query) => {
                let mut query = EventQuery { limit, ..query.clone() };
                if let Some(id) = before {
                    query.after = Some(Cursor::at(EventQuery::LIST_NAME, id));
                    query.offset = 0;
                }
                store.events(&query, &mut |event| {
                    add(event.id, &|out: &mut Vec<u8>| json::native::write_event(out, &event))
                })
            }
            Self::Trail(query) => {
                let query = TrailQuery { limit, before: before.or(query.before), ..query.clone() };
                store.trail(&query, &mut |event| {
                    add(event.event.id, &|out: &mut Vec<u8>| json::v1::write_event(out, &event))
                })
            }
            Self::InOrder(query, write_event) => {
                let part = TrailQuery { limit, after: last.or(query.after), ..query.clone() };
                let write_event = *write_event;
                let followed = store.follow(&part, &mut |event| {
                    add(event.event.id, &|out: &mut Vec<u8>| write_event(out, &event))
                })?;
                if !followed.has_more {
                    // Read again, the page ends there, even if events were appended.
                    query.until = Some(followed.through);
                }
                let next =
                    followed.has_more.then(|| Cursor::at(TrailQuery::LIST_NAME_IN_ORDER, followed.through));
                Ok(Page { total: None, next })
            }
        }
    }

    fn limit(&self) -> u32 {
        match self {
            Self::OfVersion(query) => query.limit,
            Self::Trail(query) | Self::InOrder(query, _) => query.limit,
        }
    }

    /// Returns what was read last if `first` is the next event to read, so that a page that is read again begins with it.
    fn before(&self, first: i64) -> Option<i64> {
        match self {
            // Ids descend.
            Self::OfVersion(_) | Self::Trail(_) => Some(first.saturating_add(1)),
            Self::InOrder(..) => None,
        }
    }

    fn start(&self) -> &'static str {
        match self {
            Self::OfVersion(_) => "[",
            Self::Trail(_) | Self::InOrder(..) => r#"{"events":["#,
        }
    }

    fn end(&self, page: &Page) -> String {
        match self {
            Self::OfVersion(_) => "]".to_owned(),
            Self::Trail(_) | Self::InOrder(..) => page_end(page),
        }
    }
}

/// A page of events.
#[derive(Clone)]
pub(super) struct Events {
    app: Data<App>,
    list: EventList,
    /// Events of the page that are not written yet.
    limit: u32,
    /// The first event of the page, once it was read.
    first: Option<i64>,
    /// The last event that is written.
    last: Option<i64>,
}

struct ReadEvents {
    bytes: Vec<u8>,
    /// The first event of the page.
    first: Option<i64>,
    /// The list, as far as it is known now.
    list: EventList,
    rest: Option<Events>,
}

impl Events {
    /// Returns a page of events, and its total and end.
    pub(super) async fn list(app: &Data<App>, list: EventList) -> Result<(Begun<Self>, Page)> {
        let limit = list.limit();
        let mut before = Self { app: app.clone(), list, limit, last: None, first: None };
        let _turn = turn_to_start().await?;
        let limit_bytes = first_limit_bytes();
        let (read, page) = before.clone().read_page(limit_bytes).await?;
        // Read again, the page is the same, even if newer events were appended.
        before.first = read.first;
        if read.rest.is_none() {
            before.list = read.list;
        }
        Ok((Begun { bytes: read.bytes, before, after: read.rest, limit_bytes }, page))
    }

    async fn read_page(mut self, limit_bytes: usize) -> Result<(ReadEvents, Page)> {
        let app = self.app.clone();
        let read = app.registry.read(move |store| {
            let before = self.last.or(self.first.and_then(|first| self.list.before(first)));
            let start = self.list.start();
            let mut bytes = Vec::new();
            let page = self.list.read(store, self.limit, before, &mut |id, write| {
                bytes.extend_from_slice(if self.last.is_none() { start.as_bytes() } else { b"," });
                write(&mut bytes);
                self.first.get_or_insert(id);
                self.last = Some(id);
                self.limit -= 1;
                until(limit_bytes, &bytes)
            })?;
            let first = self.first;
            if bytes.len() >= limit_bytes && self.limit > 0 {
                let list = self.list.clone();
                return Ok((ReadEvents { bytes, first, list, rest: Some(self) }, page));
            }
            if self.last.is_none() {
                bytes.extend_from_slice(start.as_bytes());
            }
            bytes.extend_from_slice(self.list.end(&page).as_bytes());
            Ok((ReadEvents { bytes, first, list: self.list, rest: None }, page))
        });
        read.await
    }
}

impl Source for Events {
    async fn read(self, limit_bytes: usize) -> Result<(Vec<u8>, Option<Self>)> {
        let (read, _) = self.read_page(limit_bytes).await?;
        Ok((read.bytes, read.rest))
    }
}
