//! What was noted of a request, and the slices that are made of it.
//!
//! ```text
//!  slice = around | resource message …            around: fields of the request that OTLP does not
//!  resource message = tag | length | everything else in it | scope message …              know
//!  scope message    = tag | length | everything else in it | record …
//! ```
//!
//! Resources and scopes are in each slice that has records of theirs, and in no other.

use bytes::Bytes;

use crate::owners::{LOCAL, OwnerIndex};
use crate::wire::{put_varint, varint_length};

const RESOURCE_TAG: u8 = 1 << 3 | 2;
const SCOPE_TAG: u8 = 2 << 3 | 2;

/// Bytes of the request, whole fields with their tags.
#[derive(Clone, Copy)]
pub struct Stretch {
    pub start: u32,
    pub end: u32,
}

impl Stretch {
    fn length(self) -> usize {
        (self.end - self.start) as usize
    }

    fn of(self, body: &[u8]) -> &[u8] {
        &body[self.start as usize..self.end as usize]
    }
}

/// Records of one scope that stand one behind the other.
#[derive(Clone, Copy)]
pub struct Run {
    pub scope: u32,
    pub start: u32,
    pub end: u32,
}

/// Of a resource or a scope message, what is not within its groups or records.
pub struct Group {
    /// Which of the stretches.
    from: u32,
    to: u32,
    /// Their bytes.
    length: u32,
}

impl Group {
    /// Of the stretches since `mark`, which have `length` bytes.
    pub fn new(mark: usize, stretches: &[Stretch], length: usize) -> Group {
        Group {
            from: mark as u32,
            to: stretches.len() as u32,
            length: length as u32,
        }
    }
}

/// A message of a slice: its index, where its parts end in the list of those, and its length.
struct Sized {
    index: u32,
    parts_end: usize,
    length: usize,
}

impl Sized {
    fn outer_length(&self) -> usize {
        1 + varint_length(self.length) + self.length
    }
}

/// How one owner's slice is laid out.
pub struct Layout {
    /// Whose it is.
    pub owner: OwnerIndex,
    /// Its bytes.
    pub length: usize,
    scopes: Vec<Sized>,
    resources: Vec<Sized>,
}

/// What was noted of a request that is that of several owners.
pub struct Slices {
    /// Of the request, what is no resource.
    pub around: Vec<Stretch>,
    pub stretches: Vec<Stretch>,
    pub resources: Vec<Group>,
    /// Each with its resource.
    pub scopes: Vec<(u32, Group)>,
    /// By owner.
    runs: Vec<Vec<Run>>,
}

impl Slices {
    pub fn new(owners: usize) -> Slices {
        Slices {
            around: Vec::new(),
            stretches: Vec::new(),
            resources: Vec::new(),
            scopes: Vec::new(),
            runs: vec![Vec::new(); owners],
        }
    }

    /// Adds a stretch, to the one before it where that ends here; those before `mark` are others'.
    pub fn add_stretch(&mut self, mark: usize, stretch: Stretch) {
        if self.stretches.len() > mark
            && let Some(last) = self.stretches.last_mut()
            && last.end == stretch.start
        {
            last.end = stretch.end;
            return;
        }
        self.stretches.push(stretch);
    }

    /// Adds a record, to the run before it where that ends here.
    #[inline]
    pub fn add_run(&mut self, owner: OwnerIndex, run: Run) {
        let runs = &mut self.runs[usize::from(owner)];
        if let Some(last) = runs.last_mut()
            && last.end == run.start
            && last.scope == run.scope
        {
            last.end = run.end;
            return;
        }
        runs.push(run);
    }

    /// The owners that have records.
    fn owners(&self) -> impl Iterator<Item = OwnerIndex> + '_ {
        (0..)
            .zip(&self.runs)
            .filter(|(_, runs)| !runs.is_empty())
            .map(|(owner, _)| owner)
    }

    /// The one owner there is; the local node where there are no records.
    pub fn only(&self) -> Option<OwnerIndex> {
        let mut owners = self.owners();
        let first = owners.next().unwrap_or(LOCAL);
        owners.next().is_none().then_some(first)
    }

    /// The owner of the first record.
    pub fn first(&self) -> OwnerIndex {
        let start = |owner: &OwnerIndex| self.runs[usize::from(*owner)][0].start;
        self.owners().min_by_key(start).unwrap_or(LOCAL)
    }

    /// The slices, in the order of their owners.
    pub fn lay_out(&self) -> Vec<Layout> {
        let around: usize = self.around.iter().map(|stretch| stretch.length()).sum();
        self.owners()
            .map(|owner| {
                let scopes = self.sized_scopes(&self.runs[usize::from(owner)]);
                let resources = self.sized_resources(&scopes);
                let within: usize = resources.iter().map(Sized::outer_length).sum();
                Layout {
                    owner,
                    length: around + within,
                    scopes,
                    resources,
                }
            })
            .collect()
    }

    /// A slice, behind `head`.
    pub fn build(&self, body: &[u8], layout: &Layout, head: &[u8]) -> Bytes {
        let runs = &self.runs[usize::from(layout.owner)];
        let mut out = Vec::with_capacity(head.len() + layout.length);
        out.extend_from_slice(head);
        for stretch in &self.around {
            out.extend_from_slice(stretch.of(body));
        }
        let (mut scope, mut run) = (0, 0);
        for resource in &layout.resources {
            out.push(RESOURCE_TAG);
            put_varint(&mut out, resource.length);
            self.put_group(&mut out, body, &self.resources[resource.index as usize]);
            for each in &layout.scopes[scope..resource.parts_end] {
                out.push(SCOPE_TAG);
                put_varint(&mut out, each.length);
                self.put_group(&mut out, body, &self.scopes[each.index as usize].1);
                for run in &runs[run..each.parts_end] {
                    out.extend_from_slice(&body[run.start as usize..run.end as usize]);
                }
                run = each.parts_end;
            }
            scope = resource.parts_end;
        }
        debug_assert_eq!(out.len(), head.len() + layout.length);
        Bytes::from(out)
    }

    fn sized_scopes(&self, runs: &[Run]) -> Vec<Sized> {
        let mut sized = Vec::<Sized>::new();
        for (at, run) in runs.iter().enumerate() {
            let records = (run.end - run.start) as usize;
            match sized.last_mut() {
                Some(last) if last.index == run.scope => {
                    last.parts_end = at + 1;
                    last.length += records;
                }
                _ => sized.push(Sized {
                    index: run.scope,
                    parts_end: at + 1,
                    length: self.scopes[run.scope as usize].1.length as usize + records,
                }),
            }
        }
        sized
    }

    fn sized_resources(&self, scopes: &[Sized]) -> Vec<Sized> {
        let mut sized = Vec::<Sized>::new();
        for (at, scope) in scopes.iter().enumerate() {
            let index = self.scopes[scope.index as usize].0;
            match sized.last_mut() {
                Some(last) if last.index == index => {
                    last.parts_end = at + 1;
                    last.length += scope.outer_length();
                }
                _ => sized.push(Sized {
                    index,
                    parts_end: at + 1,
                    length: self.resources[index as usize].length as usize + scope.outer_length(),
                }),
            }
        }
        sized
    }

    fn put_group(&self, out: &mut Vec<u8>, body: &[u8], group: &Group) {
        for stretch in &self.stretches[group.from as usize..group.to as usize] {
            out.extend_from_slice(stretch.of(body));
        }
    }
}
