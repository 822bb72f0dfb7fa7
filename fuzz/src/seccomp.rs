//! A compiled filter answers as its policy does.

use arbitrary::{Result, Unstructured};
use skep::seccomp::{
    Action, Arch, Clause, Condition, GROUPS, MAX_INSTRUCTIONS, Policy, Program, Rule, SeccompData, Test, Width, compile,
};

/// Target `seccomp`: a policy and calls out of the bytes.
pub fn seccomp(bytes: &[u8]) {
    let mut source = Unstructured::new(bytes);
    let Ok(policy) = policy(&mut source) else { return };
    let text = serde_json::to_string(&policy).unwrap_or_default();
    assert_eq!(serde_json::from_str::<Policy>(&text).ok().as_ref(), Some(&policy), "changed by JSON: {text}");
    let program = match compile(&policy) {
        Ok(program) => program,
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
            return;
        }
    };
    assert!(program.instructions().len() <= MAX_INSTRUCTIONS);
    assert_eq!(program.bytes().len(), program.instructions().len() * 8);
    if let Err(error) = Program::from_instructions(program.instructions().to_vec()) {
        panic!("the kernel would refuse it: {error}\n{policy:?}");
    }
    for (arch, nr) in ABIS.into_iter().flat_map(|arch| arch.calls().map(move |(nr, _)| (arch, nr))) {
        same(&policy, &program, &SeccompData::new(arch, nr, [0; 6]));
    }
    while let Ok(call) = call(&mut source, &policy) {
        same(&policy, &program, &call);
        if source.is_empty() {
            break;
        }
    }
}

fn same(policy: &Policy, program: &Program, call: &SeccompData) {
    assert_eq!(program.decide(call), policy.decide(call), "{call:?}\n{policy:?}");
}

const ABIS: [Arch; 4] = [Arch::X86_64, Arch::Aarch64, Arch::X86, Arch::X32];

fn policy(source: &mut Unstructured<'_>) -> Result<Policy> {
    let mut policy = policy_of_one(source)?;
    for _ in 0..source.int_in_range(0..=2)? {
        policy.also.push(policy_of_one(source)?);
    }
    Ok(policy)
}

fn policy_of_one(source: &mut Unstructured<'_>) -> Result<Policy> {
    let arch = *source.choose(&ABIS)?;
    let mut policy = match source.int_in_range(0..=4)? {
        0 => skep::seccomp::strict_default(arch),
        1 => skep::seccomp::stub_init(arch),
        2 => skep::seccomp::nspawn_default(arch, source.arbitrary()?),
        _ => Policy::new(arch, action(source)?, action(source)?),
    };
    if source.ratio(1, 4)? {
        policy.foreign_abi = action(source)?;
    }
    for _ in 0..source.int_in_range(0..=12)? {
        let item = match source.int_in_range(0..=15)? {
            0 => "no_such_call".to_owned(),
            1 => "chown32".to_owned(),
            2..=4 => source.choose(&GROUPS)?.name.to_owned(),
            _ => {
                let calls: Vec<_> = arch.calls().map(|(_, name)| name).collect();
                (*source.choose(&calls)?).to_owned()
            }
        };
        if source.ratio(1, 8)? {
            policy.unset(&item);
        } else {
            policy.set(&item, rule(source)?);
        }
    }
    Ok(policy)
}

fn action(source: &mut Unstructured<'_>) -> Result<Action> {
    Ok(match source.int_in_range(0..=9)? {
        0 | 1 => Action::Allow,
        2 => Action::Log,
        3 => Action::Errno(source.int_in_range(0..=5000)?),
        4 => Action::Notify,
        5 => Action::Trace(source.arbitrary()?),
        6 => Action::Trap,
        7 => Action::KillThread,
        8 => Action::KillProcess,
        _ => Action::Errno(1),
    })
}

fn rule(source: &mut Unstructured<'_>) -> Result<Rule> {
    let mut rule = Rule::always(action(source)?);
    for _ in 0..source.int_in_range(0..=4)? {
        let mut when = Vec::new();
        for _ in 0..source.int_in_range(0..=3)? {
            when.push(condition(source)?);
        }
        rule.clauses.push(Clause { when, then: action(source)? });
    }
    Ok(rule)
}

fn condition(source: &mut Unstructured<'_>) -> Result<Condition> {
    let width = *source.choose(&[Width::Low32, Width::Full])?;
    let (one, other) = (value(source)?, value(source)?);
    let test = match source.int_in_range(0..=4)? {
        0 => Test::Eq(one),
        1 => Test::Ne(one),
        2 => Test::MaskedEq { mask: one | other, value: other },
        3 => Test::MaskedEq { mask: one, value: other },
        _ => Test::Range { min: one.min(other), max: one.max(other) },
    };
    Ok(Condition { arg: source.int_in_range(0..=6)?, width, test })
}

/// Numbers around which the halves of a comparison go wrong.
fn value(source: &mut Unstructured<'_>) -> Result<u64> {
    const EDGES: [u64; 10] = [
        0,
        1,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_fffe,
        0xffff_ffff,
        0x1_0000_0000,
        0x1_0000_0001,
        u64::MAX - 1,
        u64::MAX,
    ];
    if source.ratio(3, 4)? { source.choose(&EDGES).copied() } else { source.arbitrary() }
}

fn call(source: &mut Unstructured<'_>, policy: &Policy) -> Result<SeccompData> {
    let names: Vec<&String> = policy.rules.keys().collect();
    let nr = match source.int_in_range(0..=3)? {
        0 => source.arbitrary()?,
        1 => source.int_in_range(0..=policy.arch.highest() + 3)?,
        2 => 0x4000_0000 | source.int_in_range(0..=600)?,
        _ if names.is_empty() => 0,
        _ => policy.arch.number(source.choose(&names)?).unwrap_or(0),
    };
    let mut args = [0; 6];
    for arg in &mut args {
        *arg = value(source)?;
    }
    let mut data = SeccompData::new(policy.arch, nr, args);
    if source.ratio(1, 4)? {
        data.arch = source.choose(&ABIS)?.audit();
    } else if source.ratio(1, 8)? {
        data.arch = source.arbitrary()?;
    }
    data.instruction_pointer = source.arbitrary()?;
    Ok(data)
}
