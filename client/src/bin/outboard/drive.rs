//! How the drive fares, in a line for people and as JSON.

use crate::output::duration_in_words;
use protocol::message::{DriveHealth, DriveState, HealthSource, ManagementState};
use serde_json::{Value, json};

/// Names of the critical warnings, by bit.
const WARNINGS: [&str; 5] = ["spare", "temperature", "reliability", "read_only", "backup"];

/// The same in words.
const WORDS: [&str; 5] = [
    "its spare runs out",
    "too hot",
    "it is not reliable any more",
    "it can only be read",
    "its backup of volatile memory failed",
];

/// One line: what it does, how hot and how old it is, and who said so when.
pub(crate) fn line(drive: &DriveHealth) -> String {
    let mut parts = vec![state(drive.state)];
    if drive.throttled {
        parts[0].push_str(" at half speed");
    }
    parts.extend(warnings(drive, &WORDS));
    parts.extend(drive.temperature_celsius.map(|it| format!("{it} °C")));
    let used = drive.used_percent;
    parts.extend(used.map(|it| format!("{it} % of its life used")));
    parts.extend(drive.spare_percent.map(|it| format!("{it} % spare")));
    let mut line = format!("drive {}", parts.join(", "));
    if let Some(told) = told(drive) {
        line.push_str(&format!(" ({told})"));
    }
    if let Some(trouble) = trouble(drive.management) {
        line.push_str(&format!("; {trouble}"));
    }
    line
}

pub(crate) fn to_json(drive: &DriveHealth) -> Value {
    let source = match drive.source {
        HealthSource::Absent => json!("absent"),
        HealthSource::Smart => json!("smart"),
        HealthSource::Management => json!("management"),
        other => json!(other.0),
    };
    let management = match drive.management {
        ManagementState::NotAsked => json!("not_asked"),
        ManagementState::Answered => json!("answered"),
        ManagementState::NoAcknowledge => json!("no_acknowledge"),
        ManagementState::BusError => json!("bus_error"),
        ManagementState::WrongLength => json!("wrong_length"),
        ManagementState::BadChecksum => json!("bad_checksum"),
        ManagementState::NotReady => json!("not_ready"),
        other => json!(other.0),
    };
    json!({
        "state": state(drive.state),
        "source": source,
        "management": management,
        "warnings": warnings(drive, &WARNINGS),
        "temperature_celsius": drive.temperature_celsius,
        "used_percent": drive.used_percent,
        "spare_percent": drive.spare_percent,
        "age_us": drive.age_us,
        "throttled": drive.throttled,
    })
}

fn state(state: DriveState) -> String {
    match state {
        DriveState::Starting => "starting".to_owned(),
        DriveState::Running => "running".to_owned(),
        DriveState::Recovering => "recovering".to_owned(),
        DriveState::Stopped => "stopped".to_owned(),
        DriveState::Failed => "failed".to_owned(),
        other => format!("state {}", other.0),
    }
}

/// A bit without a name is shown by its number.
fn warnings(drive: &DriveHealth, names: &[&str]) -> Vec<String> {
    let set = (0..u8::BITS).filter(|bit| drive.warnings >> bit & 1 != 0);
    let name = |bit: u32| match names.get(bit as usize) {
        Some(name) => (*name).to_owned(),
        None => format!("warning {bit}"),
    };
    set.map(name).collect()
}

fn told(drive: &DriveHealth) -> Option<String> {
    let who = match drive.source {
        HealthSource::Absent => return None,
        HealthSource::Smart => "SMART".to_owned(),
        HealthSource::Management => "management bus".to_owned(),
        other => format!("source {}", other.0),
    };
    Some(match drive.age_us {
        Some(age_us) => format!("{who}, {} ago", duration_in_words(age_us)),
        None => who,
    })
}

fn trouble(management: ManagementState) -> Option<&'static str> {
    match management {
        ManagementState::NoAcknowledge => Some("nobody answers on its management bus"),
        ManagementState::BusError => Some("its management bus fails"),
        ManagementState::WrongLength | ManagementState::BadChecksum => {
            Some("its management bus answers nonsense")
        }
        ManagementState::NotReady => Some("its management side is not ready"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive() -> DriveHealth {
        DriveHealth {
            state: DriveState::Running,
            source: HealthSource::Smart,
            management: ManagementState::NotAsked,
            warnings: 0,
            temperature_celsius: Some(41),
            used_percent: Some(3),
            spare_percent: Some(100),
            age_us: Some(4_200_000),
            throttled: false,
        }
    }

    #[test]
    fn a_drive_in_one_line() {
        let well = "drive running, 41 °C, 3 % of its life used, 100 % spare (SMART, 4.2 s ago)";
        assert_eq!(line(&drive()), well);
        let hot = DriveHealth {
            warnings: 0b10,
            throttled: true,
            ..drive()
        };
        let half = "drive running at half speed, too hot, 41 °C, ";
        assert!(line(&hot).starts_with(half), "{}", line(&hot));
        let lost = DriveHealth {
            state: DriveState::Failed,
            management: ManagementState::NoAcknowledge,
            ..DriveHealth::default()
        };
        let nobody = "drive failed; nobody answers on its management bus";
        assert_eq!(line(&lost), nobody);
    }

    #[test]
    fn what_has_no_name_is_a_number() {
        let odd = DriveHealth {
            state: DriveState(9),
            source: HealthSource(8),
            management: ManagementState(7),
            warnings: 0x80,
            ..DriveHealth::default()
        };
        assert_eq!(line(&odd), "drive state 9, warning 7 (source 8)");
        let json = to_json(&odd);
        assert_eq!(
            (&json["source"], &json["management"]),
            (&json!(8), &json!(7))
        );
    }
}
