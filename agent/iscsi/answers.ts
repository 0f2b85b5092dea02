import { FleetError } from '../../shared/errors.ts'
import { type Answer, STATUS } from './connection.ts'

/** SPC-4, 4.5. */
const KEY = { notReady: 2, medium: 3, illegal: 5, attention: 6, protect: 7, aborted: 0xb } as const
const NO_SUCH_LUN = 0x2500
const NO_SPACE = 0x2707

/**
 * What an answer means: `again` at once (the target tells of something that happened before, or was busy), `unreadable` of some blocks,
 * `unknown` for a command that it does not know, or a FleetError.
 */
export type Meaning = 'good' | 'again' | 'unreadable' | 'unknown' | FleetError

export function meaningOf({ status, senseKey, ascq }: Answer): Meaning {
  if (status === STATUS.good) return 'good'
  if (status === STATUS.busy || status === STATUS.full) return 'again'
  if (status === STATUS.reserved) return new FleetError('busy', 'somebody else has the LUN reserved for himself')
  const detail = `status ${hex(status)}, sense key ${hex(senseKey)}, ${hex(ascq)}`
  if (status !== STATUS.check) return new FleetError('unavailable', 'the target reported an error', { detail })
  if (ascq === NO_SUCH_LUN) return new FleetError('not_found', 'the target has no LUN of this number', { detail })
  if (ascq === NO_SPACE) return new FleetError('no_space', 'what the LUN lies on is full', { detail })
  switch (senseKey) {
    case KEY.notReady:
    case KEY.attention:
    case KEY.aborted:
      return 'again'
    case KEY.medium:
      return 'unreadable'
    case KEY.illegal:
      return 'unknown'
    case KEY.protect:
      return new FleetError('conflict', 'the LUN cannot be written to', { detail })
    default:
      return new FleetError('unavailable', 'the target reported an error', { detail })
  }
}

function hex(value: number): string {
  return `0x${value.toString(16)}`
}
