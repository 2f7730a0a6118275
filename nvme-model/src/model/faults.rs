//! What goes wrong, and when: by count or by seeded chance.

use std::vec::Vec;

use crate::spec::Status;

use super::random::Random;

/// Which commands a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commands {
    /// All commands.
    Any,
    /// Commands of the admin queue.
    Admin,
    /// Commands of I/O queues.
    Io,
    /// Admin commands of this opcode.
    AdminOpcode(u8),
    /// I/O commands of this opcode.
    IoOpcode(u8),
}

impl Commands {
    const fn covers(self, admin: bool, opcode: u8) -> bool {
        match self {
            Self::Any => true,
            Self::Admin => admin,
            Self::Io => !admin,
            Self::AdminOpcode(wanted) => admin && wanted == opcode,
            Self::IoOpcode(wanted) => !admin && wanted == opcode,
        }
    }
}

/// When a rule strikes, among the commands it looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At the n-th command from now, counted from 1; once.
    Nth(u64),
    /// At every n-th command.
    Every(u64),
    /// At each command with this chance, out of a million.
    Chance(u32),
}

/// What happens to the command struck, or because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is never completed. Abort does not find it.
    Drop,
    /// It hangs until it is aborted, or for ever.
    Hang,
    /// It is carried out this much later, in microseconds.
    Delay(u64),
    /// It fails with this status and does nothing.
    Status(Status),
    /// It is carried out and its completion is posted twice.
    DuplicateCompletion,
    /// Its completion is followed by that of an earlier command again.
    StaleCompletion,
    /// Its completion is followed by one of a command that was never submitted.
    ForgedCompletion,
    /// It is carried out, and its completion names a command id with these bits flipped.
    WrongCommandId(u16),
    /// The controller fails: CSTS.CFS rises and nothing more is done.
    Fatal,
    /// The device disappears from the bus: all registers read as ones.
    Gone,
}

#[derive(Clone, Debug)]
struct Rule {
    commands: Commands,
    when: When,
    fault: Fault,
    seen: u64,
}

impl Rule {
    fn strikes(&mut self, random: &mut Random) -> bool {
        self.seen += 1;
        match self.when {
            When::Nth(n) => self.seen == n,
            When::Every(n) => n > 0 && self.seen.is_multiple_of(n),
            When::Chance(per_million) => random.chance(per_million),
        }
    }
}

/// A plan of faults. The default has none.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    rules: Vec<Rule>,
    random: Random,
    injected: u64,
    /// CSTS.RDY keeps the value it has, whatever CC.EN says.
    pub stuck_ready: bool,
    /// The device is not on the bus. When it comes back it has lost power.
    pub gone: bool,
    /// So many of the last namespaces are not attached to the controller, as by a command of
    /// another one's (Base §5.20).
    pub detached: usize,
    /// PERST# does not end what keeps the device stuck or off the bus, as it does else.
    pub beyond_reset: bool,
}

impl Default for FaultPlan {
    fn default() -> Self {
        Self::new(0)
    }
}

impl FaultPlan {
    /// A plan without faults, whose chances follow `seed`.
    pub const fn new(seed: u64) -> Self {
        Self {
            rules: Vec::new(),
            random: Random::new(seed),
            injected: 0,
            stuck_ready: false,
            gone: false,
            detached: 0,
            beyond_reset: false,
        }
    }

    /// The plan with one more rule. Where several strike one command, the first counts.
    #[must_use]
    pub fn with(mut self, commands: Commands, when: When, fault: Fault) -> Self {
        self.add(commands, when, fault);
        self
    }

    /// Adds a rule, which counts commands from now.
    pub fn add(&mut self, commands: Commands, when: When, fault: Fault) {
        self.rules.push(Rule {
            commands,
            when,
            fault,
            seen: 0,
        });
    }

    /// Ends all faults, so that a run can converge.
    pub fn clear(&mut self) {
        self.rules.clear();
        self.stuck_ready = false;
        self.gone = false;
        self.detached = 0;
        self.beyond_reset = false;
    }

    /// PERST# was asserted: what it can end ends.
    pub(super) fn reset(&mut self) {
        if !self.beyond_reset {
            self.stuck_ready = false;
            self.gone = false;
        }
    }

    /// How many commands were struck.
    pub const fn injected(&self) -> u64 {
        self.injected
    }

    /// What is to happen to a command just fetched.
    #[inline]
    pub(super) fn judge(&mut self, admin: bool, opcode: u8) -> Option<Fault> {
        if self.rules.is_empty() {
            None
        } else {
            self.judge_by_rules(admin, opcode)
        }
    }

    fn judge_by_rules(&mut self, admin: bool, opcode: u8) -> Option<Fault> {
        let mut struck = None;
        // Every rule counts every command it covers, struck by another or not.
        for rule in self
            .rules
            .iter_mut()
            .filter(|rule| rule.commands.covers(admin, opcode))
        {
            if rule.strikes(&mut self.random) && struck.is_none() {
                struck = Some(rule.fault);
            }
        }
        self.injected += u64::from(struck.is_some());
        struck
    }
}
