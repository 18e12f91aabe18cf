//! Why memory ran out, as `tidegauge oom` tells it: of traces, and of a command that the kernel really killed.

use std::os::unix::process::CommandExt as _;
use std::path::Path;

use serde_json::{Value, json};
use tidegauge_schemas::EventKind;
use tidegauge_tests::programs::{Running, output_of, program, say, wait_until};
use tidegauge_tests::signals::READY;
use tidegauge_tests::trace_builder::TraceBuilder;

use crate::launched::Launched;
use crate::launcher_kills::Group;

const MIB: u64 = 1 << 20;

fn ooms(run: &Path) -> Vec<Value> {
    let text = output_of(program("tidegauge").arg("oom").arg(run).arg("--json"));
    serde_json::from_str(&text).unwrap()
}

/// A step of 300 MiB, then 20 MiB that stay.
fn leaking_step(trace: TraceBuilder, number: i64) -> TraceBuilder {
    let kept = 1000 + number.cast_unsigned();
    trace.step(number, 0.5, |step| {
        let forward =
            |span: TraceBuilder| span.event(EventKind::Alloc, 1, Some(300 * MIB), Some("model.layer.mm"));
        let step = step.span("forward", forward).free(1);
        step.event(EventKind::Alloc, kept, Some(20 * MIB), Some("history.append"))
    })
}

#[test]
fn a_failure_that_hooks_recorded_is_told_once_with_what_was_alive() {
    let folder = tempfile::tempdir().unwrap();
    let config = serde_json::from_value(json!({"batch_size": 30})).unwrap();
    let mut trace = TraceBuilder::new().config(config);
    for number in 0..10 {
        trace = leaking_step(trace, number);
    }
    let run =
        trace.step(10, 0.5, |step| step.span("forward", |span| span.oom(100 * MIB))).write(folder.path());
    let found = ooms(&run);
    let [oom] = found.as_slice() else { panic!("the event and the exception are one: {found:?}") };
    assert_eq!((&oom["cause"], &oom["contributing"]), (&json!("growth"), &json!("")));
    assert_eq!(oom["requested_bytes"], 100 * MIB);
    assert_eq!((&oom["step"], &oom["phase"]), (&json!(10), &json!("forward")));
    assert_eq!((&oom["growth_bytes_per_step"], &oom["growth_bytes"]), (&json!(20 * MIB), &json!(160 * MIB)));
    assert_eq!((&oom["top_holder"], &oom["top_holder_bytes"]), (&json!("history.append"), &json!(200 * MIB)));
    assert_eq!((&oom["device_free_bytes"], &oom["reserved_bytes"]), (&Value::Null, &Value::Null));
    assert_eq!(oom["gone_on"], false);
}

#[test]
fn an_exception_alone_is_a_failure_of_which_nothing_more_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let run = leaking_step(TraceBuilder::new(), 0).raised().alloc(7, 5).write(folder.path());
    let found = ooms(&run);
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["cause"], &found[0]["requested_bytes"]), (&json!("unknown"), &Value::Null));
    assert_eq!((&found[0]["allocated_bytes"], &found[0]["gone_on"]), (&json!(20 * MIB), &json!(true)));
    let text = output_of(program("tidegauge").arg("oom").arg(&run));
    assert!(text.contains("not known, the program recorded only that memory ran out"), "{text}");
}

#[test]
fn a_command_that_the_kernel_killed_is_told_with_its_limit() {
    let Some(group) = Group::new("oom", 200 * MIB) else {
        say("SKIPPED: this user may make no control group with a limit of memory");
        return;
    };
    let processes = group.path.join("cgroup.procs");
    for (how, is_oom) in [(4, true), (3, false)] {
        let launched = Launched::new().option(&["--interval", "5ms"]);
        let mut command = launched.program("environment-recorder", &["1000"]);
        let processes = processes.clone();
        // SAFETY: the child has one thread; it opens and writes a file.
        unsafe {
            command.pre_exec(move || std::fs::write(&processes, std::process::id().to_string()));
        }
        let mut launcher = Running::start(command.stderr(launched.errors_file()));
        wait_until("it has recorded", || launched.counts().get(READY) > 0);
        let pid = launched.pid();
        launched.end(how);
        assert_eq!(launcher.wait().unwrap().code(), Some(128 + libc::SIGKILL), "{}", launched.errors());
        let found = ooms(&launched.run);
        let text = output_of(program("tidegauge").arg("oom").arg(&launched.run));
        if !is_oom {
            assert_eq!(found, Vec::<Value>::new());
            assert!(text.starts_with("no allocation failed"), "{text}");
            continue;
        }
        let [kill] = found.as_slice() else { panic!("one kill, told once: {found:?}") };
        assert_eq!((&kill["kind"], &kill["cause"]), (&json!("killed"), &json!("host_memory")));
        assert_eq!((&kill["rank"], &kill["process"]), (&json!(0), &json!(1)), "the one that recorded itself");
        assert_eq!((&kill["certain"], &kill["limit_bytes"]), (&json!(true), &json!(200 * MIB)));
        let peak = kill["group_peak_bytes"].as_u64().unwrap();
        assert!(peak > 100 * MIB && peak <= 201 * MIB, "{peak}");
        assert!(text.contains("killed by the kernel for want of memory"), "{text}");
        assert!(text.contains("limit of its control group: 200 MiB"), "{text}");
        assert!(text.contains(&format!("(pid {pid})")), "{text}");
        group.widen();
    }
}
