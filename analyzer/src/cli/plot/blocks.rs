//! `tidegauge plot blocks`.

use anyhow::Result;

use super::Drawn;
use super::request::Request;

pub(super) fn draw(request: &Request<'_>) -> Result<Drawn> {
    Err(request.nothing("blocks"))
}
