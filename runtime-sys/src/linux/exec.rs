//! The exec of a payload.

use super::Linux;
use super::words::{Word, ask};
use crate::errno::Errno;
use crate::raw::nr;
use crate::wire::{Secret, Strings};

#[cfg_attr(not(skep_stage), allow(dead_code, reason = "only stage B executes"))]
impl Linux<'_> {
    /// `execve` of the first program that exists. As `execvp(3)`: a program
    /// that may not be executed is passed over, and named if none follows.
    pub(super) fn exec(
        &mut self,
        programs: Strings<'_>,
        arguments: Strings<'_>,
        environment: Secret<'_>,
    ) -> Result<(), Errno> {
        let (arguments, environment) = self.pointers(arguments, environment)?;
        let mut verdict = Errno::ENOENT;
        for program in programs.iter() {
            match ask(nr::EXECVE, [Word::text(program), arguments, environment]) {
                Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(Errno::EACCES) => verdict = Errno::EACCES,
                Err(errno) => return Err(errno),
            }
        }
        Err(verdict)
    }

    /// The two null-ended lists of pointers, in the scratch.
    pub(super) fn pointers(
        &mut self,
        arguments: Strings<'_>,
        environment: Secret<'_>,
    ) -> Result<(Word<'_>, Word<'_>), Errno> {
        let environment = environment.0;
        let needed = arguments.len() + environment.len() + 2;
        let room = self.scratch.get_mut(..needed).ok_or(Errno::E2BIG)?;
        let strings = arguments.iter().map(|text| text.as_ptr().expose_provenance());
        let words = strings
            .chain(core::iter::once(0))
            .chain(environment.iter().map(|text| text.as_ptr().expose_provenance()))
            .chain(core::iter::once(0));
        for (place, word) in room.iter_mut().zip(words) {
            *place = word;
        }
        let (first, second) = room.split_at_checked(arguments.len() + 1).ok_or(Errno::E2BIG)?;
        Ok((Word::list(first), Word::list(second)))
    }
}
