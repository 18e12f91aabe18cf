//! What the last training step held: at the end of its forward by module, at the end of its backward by category.

use std::collections::HashMap;

use tidegauge_schemas::Category;

use crate::analysis::{LiveBlock, LiveSetAt};
use crate::error::Result;
use crate::load::{Process, Rows};
use crate::replay::{EndedPhase, Observed, Observer, Window, replay, replay_checkpoints};

/// What blocks of a module, or of all, came to. `None`: it was not recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MeasuredModule {
    /// Parameters and buffers, which the recorder tags alike.
    pub parameter_bytes: Option<i64>,
    /// Gradients, at the end of backward.
    pub gradient_bytes: Option<i64>,
    /// Optimizer state.
    pub optimizer_bytes: Option<i64>,
    /// What forward had allocated and was alive at its end.
    pub activation_bytes: Option<i64>,
}

/// The last step that had a forward and a backward.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) step: Option<i64>,
    pub(super) batch_size: Option<i64>,
    pub(super) by_site: HashMap<String, MeasuredModule>,
    pub(super) total: MeasuredModule,
    /// The site of the optimizer's state, which is its class.
    pub(super) optimizer: Option<String>,
    /// The device that blocks were counted on.
    pub(super) device: Option<i16>,
}

/// Phases and steps as they end.
#[derive(Debug, Default)]
struct Phases {
    forward: Option<EndedPhase>,
    /// The last backward, with the forward before it.
    last: Option<(EndedPhase, EndedPhase)>,
    batch_sizes: HashMap<i64, i64>,
}

impl Observer for Phases {
    fn observe(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::Phase(phase) if phase.is_complete && phase.name == "forward" => {
                self.forward = Some((*phase).clone());
            }
            Observed::Phase(phase) if phase.is_complete && phase.name == "backward" => {
                let before = self.forward.take().filter(|forward| forward.seqs.1 <= phase.seqs.0);
                if let Some(forward) = before.filter(|forward| forward.step == phase.step) {
                    self.last = Some((forward, (*phase).clone()));
                }
            }
            Observed::Step { step, .. } => {
                if let Some(size) = step.batch_size {
                    self.batch_sizes.insert(step.step, size);
                }
            }
            _ => {}
        }
    }
}

/// The last event of each device up to each of the moments.
#[derive(Debug)]
struct LastEvents {
    moments: [u64; 2],
    found: HashMap<i16, [Option<u64>; 2]>,
}

impl Observer for LastEvents {
    fn observe(&mut self, observed: &Observed<'_>) {
        let Observed::Event { event, device, .. } = observed else { return };
        for (at, moment) in self.moments.iter().enumerate() {
            if event.seq <= *moment {
                self.found.entry(device.device).or_default()[at] = Some(event.seq);
            }
        }
    }
}

/// Without a step that had both, or without events, nothing is known.
pub(super) fn measure(process: &Process, shows: impl Fn(i16) -> bool) -> Result<Measured> {
    let mut phases = Phases::default();
    replay_checkpoints(process, &mut phases)?;
    let Some((forward, backward)) = phases.last else { return Ok(Measured::default()) };
    let mut found = Measured {
        step: forward.step,
        batch_size: forward.step.and_then(|step| phases.batch_sizes.get(&step).copied()),
        ..Measured::default()
    };
    let mut events = LastEvents { moments: [forward.seqs.1, backward.seqs.1], found: HashMap::new() };
    replay(process, Window::ALL, &mut events)?;
    // Where a model is on an accelerator, the host holds other things.
    let devices = events.found.into_iter().filter(|(device, _)| shows(*device));
    let Some((device, [Some(forward_seq), Some(backward_seq)])) = devices.max_by_key(|(device, _)| *device)
    else {
        return Ok(found);
    };
    found.device = Some(device);
    let mut sets = vec![LiveSetAt::new(device, forward_seq), LiveSetAt::new(device, backward_seq)];
    replay(process, Window::ALL, &mut sets)?;
    let mut sets = sets.into_iter().map(|set| set.finish().0);
    let names = Rows::new(process).site_names()?;
    let (at_forward, at_backward) = (sets.next().unwrap_or_default(), sets.next().unwrap_or_default());
    let site = |live: &LiveBlock| names.get(&live.block.site).cloned();
    for live in at_forward {
        let is_kept = matches!(live.block.category, None | Some(Category::Activation | Category::Unknown));
        if is_kept && live.block.born_seq > forward.seqs.0 {
            found.count(site(&live), live.block.size_bytes, |measured| &mut measured.activation_bytes);
        }
    }
    for live in at_backward {
        let bytes = live.block.size_bytes;
        match live.block.category {
            Some(Category::Parameter) => {
                found.count(site(&live), bytes, |measured| &mut measured.parameter_bytes);
            }
            Some(Category::Gradient) => {
                found.count(site(&live), bytes, |measured| &mut measured.gradient_bytes);
            }
            Some(Category::OptimizerState) => {
                let name = site(&live);
                if found.optimizer.is_none() {
                    found.optimizer.clone_from(&name);
                }
                found.count(name, bytes, |measured| &mut measured.optimizer_bytes);
            }
            _ => {}
        }
    }
    Ok(found)
}

impl Measured {
    /// What blocks of a module came to. None of those that others had is 0; parameters and optimizer state are mostly
    /// made elsewhere, so that none of those says nothing.
    pub(super) fn of_module(&self, path: &str) -> MeasuredModule {
        let found = self.by_site.get(path).copied().unwrap_or_default();
        MeasuredModule {
            gradient_bytes: found.gradient_bytes.or(self.total.gradient_bytes.and(Some(0))),
            activation_bytes: found.activation_bytes.or(self.total.activation_bytes.and(Some(0))),
            ..found
        }
    }

    /// They are of another batch than what they would stand beside.
    pub(super) fn forget_activations(&mut self) {
        self.total.activation_bytes = None;
        self.by_site.values_mut().for_each(|measured| measured.activation_bytes = None);
    }

    fn count(
        &mut self,
        site: Option<String>,
        bytes: i64,
        figure: fn(&mut MeasuredModule) -> &mut Option<i64>,
    ) {
        let add = |figure: &mut Option<i64>| *figure = Some(figure.unwrap_or(0).saturating_add(bytes));
        add(figure(&mut self.total));
        if let Some(site) = site {
            add(figure(self.by_site.entry(site).or_default()));
        }
    }
}
