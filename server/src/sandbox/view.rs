//! What an operator is told: what the launcher of the newest instance reported.

use std::fs::File;
use std::io::Read as _;

use muxi_contract::FormationId;
use muxi_contract::confinement::{Confinement, LimitsView, SandboxView};

use crate::layout::Layout;
use crate::store::formations::Formation;
use crate::store::{StoreError, holds, instances};
use crate::supervisor::Context;

/// A report is two kilobytes.
const REPORT_BYTES_MAX: u64 = 64 << 10;

/// The limits, and the sandbox while an instance runs: of the one that serves, else of the newest.
pub(crate) async fn view(
    context: &Context,
    formation: &Formation,
) -> Result<(LimitsView, Option<SandboxView>), StoreError> {
    let id = formation.id.clone();
    let rows = context.store.read(move |db| instances::of(db, &id)).await?;
    let told = rows.iter().max_by_key(|row| (row.routed_at_ms, row.instance.number));
    let instance = told.map(|row| row.instance.number);
    let (layout, config) = (context.layout.clone(), context.live());
    let (id, generation) = (formation.id.clone(), formation.generation());
    let read = move || match instance.and_then(|number| report(&layout, &id, number)) {
        Some(Confinement { limits, sandbox }) => (limits, Some(sandbox)),
        None => (super::effective(&config, &layout, &id, generation).view_at_rest(), None),
    };
    Ok(tokio::task::spawn_blocking(read).await.expect("reading a report does not panic"))
}

/// Why the manager itself stopped the formation, if it did.
pub(crate) async fn hold_reason(
    context: &Context,
    formation: &FormationId,
) -> Result<Option<String>, StoreError> {
    let id = formation.clone();
    context.store.read(move |db| holds::reason(db, &id)).await
}

/// What the launcher of a living instance wrote.
pub(super) fn report(
    layout: &Layout,
    formation: &FormationId,
    instance: u64,
) -> Option<Confinement> {
    let mut text = String::new();
    let file = File::open(layout.report(formation, instance)).ok()?;
    file.take(REPORT_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
