import { Command } from 'commander'
import type { Session } from '../session.ts'

export function repairCommand(_session: Session): Command {
  return new Command('repair')
}
