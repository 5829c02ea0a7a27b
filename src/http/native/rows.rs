//! Answers made of rows: lists, comparisons, single versions and events, as sources of the body's stream.
//!
//! The ids of a list come from one snapshot of the database and its rows from as many as there are chunks. So a version
//! appears as it is when its chunk is read, and one that is deleted before that is left out. An answer of one chunk is
//! one snapshot. Events never change.

use std::{ops::ControlFlow, sync::Arc};

use crate::{
    domain::{Comparison, Cursor, Event, EventQuery, ListQuery, ModelId, ModelRow, Page, query::CursorKey},
    registry::{Registry, Result},
};

use super::{
    super::stream::{Begun, SMALL_BYTES, Source, first_limit_bytes},
    answer::{write_event, write_model},
};

/// Versions whose rows one read asks for at most.
const READ_ROWS: usize = 512;
/// Ids that an answer holds at most. A list without a limit that is longer goes on by keyset from here, and then lacks a
/// version that changes between two of its parts.
const MOST_IDS: u32 = 2_048;

/// Versions in order, and the texts around them.
#[derive(Clone)]
pub(super) struct Versions {
    registry: Registry,
    expose_paths: bool,
    pieces: Arc<[Piece]>,
    /// Pieces that are written.
    at: usize,
    /// Whether the next version needs a comma before it.
    comma: bool,
    /// The list goes on with this page after the pieces.
    then: Option<Arc<ListQuery>>,
}

enum Piece {
    Text(&'static str),
    Version(ModelId),
}

/// A chunk under way, and whether it holds enough.
struct Chunk<S> {
    source: S,
    bytes: Vec<u8>,
    is_full: bool,
}

impl<S> Chunk<S> {
    fn of(source: S) -> Self {
        Self { source, bytes: Vec::new(), is_full: false }
    }

    fn goes_on(&mut self, limit_bytes: usize) -> ControlFlow<()> {
        self.is_full = self.bytes.len() >= limit_bytes;
        if self.is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Versions {
    fn new(registry: &Registry, expose_paths: bool, pieces: Vec<Piece>) -> Self {
        let registry = registry.clone();
        Self { registry, expose_paths, pieces: pieces.into(), at: 0, comma: false, then: None }
    }

    /// A list, and the page that it is. Without a limit it is the whole list, however many pages that takes.
    pub(super) async fn list(
        registry: &Registry,
        query: ListQuery,
        expose_paths: bool,
    ) -> Result<(Begun<Self>, Page)> {
        let limit_bytes = first_limit_bytes();
        let add = move |(ids, chunk): &mut (Vec<ModelId>, Chunk<()>), model: &ModelRow<'_>| {
            chunk.bytes.push(if ids.is_empty() { b'[' } else { b',' });
            write_model(&mut chunk.bytes, model, expose_paths);
            ids.push(model.id);
            chunk.goes_on(limit_bytes)
        };
        let is_whole = query.limit.is_none();
        let first = ListQuery { limit: query.limit.or(Some(MOST_IDS)), ..query.clone() };
        let ((ids, chunk), mut page, rest) = registry.models(first, (Vec::new(), Chunk::of(())), add).await?;
        let mut bytes = chunk.bytes;
        let then = if is_whole { page.next.take() } else { None };
        let is_complete = rest.is_empty() && then.is_none();
        if ids.is_empty() {
            bytes.push(b'[');
        }
        if is_complete {
            bytes.push(b']');
        }
        let written = 1 + ids.len();
        let versions = ids.iter().chain(&rest).copied().map(Piece::Version);
        let end = then.is_none().then_some(Piece::Text("]"));
        let is_small = is_complete && bytes.len() <= SMALL_BYTES;
        // A small answer is never read again.
        let pieces = if is_small {
            Vec::new()
        } else {
            [Piece::Text("[")].into_iter().chain(versions).chain(end).collect()
        };
        let then = then.map(|after| next_part(&query, after));
        let before = Self { then, ..Self::new(registry, expose_paths, pieces) };
        let after = Self { at: written, comma: !ids.is_empty(), ..before.clone() };
        Ok((Begun { bytes, before, after: (!is_complete).then_some(after), limit_bytes }, page))
    }

    /// One version, which is written already.
    pub(super) fn one(registry: &Registry, expose_paths: bool, id: ModelId, bytes: Vec<u8>) -> Begun<Self> {
        let before = Self::new(registry, expose_paths, vec![Piece::Version(id)]);
        Begun { bytes, before, after: None, limit_bytes: 0 }
    }

    /// Those of `ids` that exist, side by side.
    pub(super) async fn compared(
        registry: &Registry,
        ids: Vec<ModelId>,
        expose_paths: bool,
    ) -> Result<Begun<Self>> {
        let compared_models = registry.compared_models(ids).await?;
        let Comparison { by_params, by_loss, by_step } = Comparison::of(&compared_models);
        let mut pieces = Vec::with_capacity(compared_models.len() * 4 + 5);
        for (text, places) in [
            (r#"{"models":["#, (0..compared_models.len()).collect()),
            (r#"],"comparison":{"by_params":["#, by_params),
            (r#"],"by_loss":["#, by_loss),
            (r#"],"by_step":["#, by_step),
        ] {
            pieces.push(Piece::Text(text));
            pieces.extend(places.into_iter().map(|place| Piece::Version(compared_models[place].id)));
        }
        pieces.push(Piece::Text("]}}"));
        let (before, limit_bytes) = (Self::new(registry, expose_paths, pieces), first_limit_bytes());
        let (bytes, after) = before.clone().read(limit_bytes).await?;
        Ok(Begun { bytes, before, after, limit_bytes })
    }

    /// The ids that come next, and the pieces that are written once these are.
    fn next_ids(&self) -> (Vec<ModelId>, usize) {
        let (mut ids, mut end) = (Vec::new(), self.at);
        while let Some(piece) = self.pieces.get(end).filter(|_| ids.len() < READ_ROWS) {
            if let Piece::Version(id) = piece {
                ids.push(*id);
            }
            end += 1;
        }
        (ids, end)
    }

    /// Writes the version and the texts before it, and passes over versions before it that are gone.
    fn write(&mut self, out: &mut Vec<u8>, model: &ModelRow<'_>) {
        let is_it = |piece: &Piece| matches!(piece, Piece::Version(id) if *id == model.id);
        let place = self.pieces[self.at..].iter().position(is_it).unwrap_or_default();
        self.write_texts(out, self.at + place);
        if std::mem::replace(&mut self.comma, true) {
            out.push(b',');
        }
        write_model(out, model, self.expose_paths);
        self.at += 1;
    }

    /// Writes the texts among the pieces before `end`.
    fn write_texts(&mut self, out: &mut Vec<u8>, end: usize) {
        for piece in &self.pieces[self.at..end] {
            if let Piece::Text(text) = piece {
                out.extend_from_slice(text.as_bytes());
                self.comma = false;
            }
        }
        self.at = end;
    }
}

fn next_part(query: &ListQuery, after: Cursor) -> Arc<ListQuery> {
    Arc::new(ListQuery { limit: Some(MOST_IDS), offset: 0, after: Some(after), ..query.clone() })
}

impl Source for Versions {
    async fn prepare(self) -> Result<Self> {
        let Some(query) = self.then.clone().filter(|_| self.at == self.pieces.len()) else { return Ok(self) };
        // The ids are enough; a first row has to be visited to say so.
        let add = |ids: &mut Vec<ModelId>, model: &ModelRow<'_>| {
            ids.push(model.id);
            ControlFlow::Break(())
        };
        let (first, page, rest) = self.registry.models(ListQuery::clone(&query), Vec::new(), add).await?;
        let end = page.next.is_none().then_some(Piece::Text("]"));
        let pieces = first.into_iter().chain(rest).map(Piece::Version).chain(end).collect();
        Ok(Self { pieces, at: 0, then: page.next.map(|after| next_part(&query, after)), ..self })
    }

    async fn read(self, limit_bytes: usize) -> Result<(Vec<u8>, Option<Self>)> {
        let (ids, end) = self.next_ids();
        let registry = self.registry.clone();
        let add = move |chunk: &mut Chunk<Self>, model: &ModelRow<'_>| {
            chunk.source.write(&mut chunk.bytes, model);
            chunk.goes_on(limit_bytes)
        };
        let Chunk { mut source, mut bytes, is_full } =
            registry.models_with_ids(ids, Chunk::of(self), add).await?;
        let texts = source.pieces[source.at..].iter().take_while(|piece| matches!(piece, Piece::Text(_)));
        let end = if is_full { source.at + texts.count() } else { end };
        source.write_texts(&mut bytes, end);
        let is_complete = source.at == source.pieces.len() && source.then.is_none();
        Ok((bytes, (!is_complete).then_some(source)))
    }
}

/// A page of a version's events.
#[derive(Clone)]
pub(super) struct Events {
    registry: Registry,
    /// What is left of the page.
    query: EventQuery,
    /// The last event that is written.
    last: Option<i64>,
}

impl Events {
    /// A page of events, and its total and end.
    pub(super) async fn list(registry: &Registry, query: EventQuery) -> Result<(Begun<Self>, Page)> {
        let (before, limit_bytes) =
            (Self { registry: registry.clone(), query, last: None }, first_limit_bytes());
        let (bytes, after, page) = before.clone().read_page(limit_bytes).await?;
        Ok((Begun { bytes, before, after, limit_bytes }, page))
    }

    async fn read_page(self, limit_bytes: usize) -> Result<(Vec<u8>, Option<Self>, Page)> {
        let (registry, mut query) = (self.registry.clone(), self.query.clone());
        if let Some(id) = self.last {
            let list = EventQuery::LIST_NAME.to_owned();
            query = EventQuery {
                offset: 0,
                after: Some(Cursor { list, key: CursorKey::Integer(None), id }),
                ..query
            };
        }
        let add = move |chunk: &mut Chunk<Self>, event: &Event<'_>| {
            chunk.bytes.push(if chunk.source.last.is_none() { b'[' } else { b',' });
            write_event(&mut chunk.bytes, event);
            chunk.source.last = Some(event.id);
            chunk.source.query.limit -= 1;
            chunk.goes_on(limit_bytes)
        };
        let (Chunk { source, mut bytes, is_full }, page) =
            registry.events(query, Chunk::of(self), add).await?;
        if is_full && source.query.limit > 0 {
            return Ok((bytes, Some(source), page));
        }
        bytes.extend_from_slice(if source.last.is_none() { b"[]" } else { b"]" });
        Ok((bytes, None, page))
    }
}

impl Source for Events {
    async fn prepare(self) -> Result<Self> {
        Ok(self)
    }

    async fn read(self, limit_bytes: usize) -> Result<(Vec<u8>, Option<Self>)> {
        let (bytes, after, _) = self.read_page(limit_bytes).await?;
        Ok((bytes, after))
    }
}
