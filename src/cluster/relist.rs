//! The comparer: every few minutes the whole truth is read afresh and laid beside the book. Watches lose events (a
//! known limit of every client); what was lost is found, counted and healed here, never silently.

use std::time::Duration;

use kube::Client;
use kube::Resource;
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

use super::intake::Intake;
use super::{jittered, session::UNFINISHED};
use crate::host::Host;
use crate::wire::{NodeObject, PodObject};

/// How long the watch gets to deliver what the list has seen already.
const CATCH_UP: Duration = Duration::from_secs(2);
/// One page.
const PAGE: u32 = 500;
const PAGE_MAX: Duration = Duration::from_secs(30);
/// Pages of one list, at most: 2 million objects.
const PAGES_MAX: usize = 4000;

/// Compares every `period` or so, for as long as it runs.
pub(super) async fn compare(client: Client, intake: &Intake, host: &Host, period: Duration) {
    loop {
        tokio::time::sleep(jittered(period)).await;
        if host.ready().is_err() {
            continue;
        }
        intake.relist_begins();
        let lists =
            async { Ok::<_, String>((list::<PodObject>(&client, Some(UNFINISHED)).await?, list::<NodeObject>(&client, None).await?)) };
        match lists.await {
            Ok((pods, nodes)) => {
                tokio::time::sleep(CATCH_UP).await;
                tracing::debug!(pods = pods.len(), nodes = nodes.len(), "relisted");
                intake.relisted(pods, nodes);
                host.metrics().relists.with_label_values(&["done"]).inc();
            }
            Err(error) => {
                intake.relist_dropped();
                host.metrics().relists.with_label_values(&["failed"]).inc();
                tracing::warn!(error, "the book was not compared this time");
            }
        }
    }
}

/// All objects of a kind, page by page.
async fn list<K>(client: &Client, fields: Option<&str>) -> Result<Vec<K>, String>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<K> = Api::all(client.clone());
    let mut params = ListParams { limit: Some(PAGE), field_selector: fields.map(Into::into), ..ListParams::default() };
    let mut objects = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = tokio::time::timeout(PAGE_MAX, api.list(&params)).await.map_err(|_| "a page did not arrive in time".to_string())?;
        let page = page.map_err(|error| error.to_string())?;
        objects.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(objects),
        }
    }
    Err(format!("more than {PAGES_MAX} pages"))
}
