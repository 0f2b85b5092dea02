import { FleetError } from '../../../shared/errors.ts'
import type { JobMemory, Step } from '../pipeline.ts'

/** Noted by an order that found the name free, with when that was; and then of what it made under that name. */
const FREE = 'free'
const MADE = 'made '

interface Named {
  readonly guid: string
}

/** What an order makes under a name that is to be free before. */
export interface Making<Thing extends Named> {
  /** Begins messages that clients may read. */
  readonly subject: string
  /** What has the name now. */
  find(): Promise<Thing | undefined>
  /** Whether it is as this order makes it: all that is known of one whose maker died before it could note the guid. */
  isAlike(found: Thing, sinceMs: number): boolean
  destroy(): Promise<void>
}

/**
 * The first step of an order that makes something under a name: what has the name already is somebody else's, unless an earlier run of
 * this very order found it free. From then on what it makes is taken back when the order fails or is cancelled, also after a restart:
 * that very thing once its guid was noted, and before that only what can be it.
 */
export function firstLook<Thing extends Named>(making: Making<Thing>): Step {
  const { find, isAlike } = making
  return {
    name: 'look',
    async run({ memory }) {
      if (memory.staged()) return
      if ((await find()) !== undefined) throw isThere(making)
      await memory.stage(`${FREE} ${Date.now()}`)
    },
    async undo({ memory }) {
      const noted = memory.staged()
      if (!noted) return
      const found = await find()
      const isOurs = noted.startsWith(MADE)
        ? found?.guid === noted.slice(MADE.length)
        : found !== undefined && isAlike(found, Number(noted.slice(FREE.length)))
      if (isOurs) await making.destroy()
      await memory.stage('')
    },
  }
}

/**
 * Makes it, and notes what that is. One that somebody else made since the first look is his.
 * @param make is given what an earlier run of this order has made, if it is there
 * @throws exists
 */
export async function makeNoted<Thing extends Named>(
  making: Making<Thing>,
  memory: JobMemory,
  make: (before: Thing | undefined) => Promise<Thing>,
): Promise<Thing> {
  const noted = memory.staged()?.startsWith(MADE) ? memory.staged()?.slice(MADE.length) : undefined
  try {
    const found = noted === undefined ? undefined : await making.find()
    if (found !== undefined && found.guid !== noted) throw isThere(making)
    const made = await make(found)
    if (made.guid !== noted) await memory.stage(`${MADE}${made.guid}`)
    return made
  } catch (error) {
    if (error instanceof FleetError && error.code === 'exists') await memory.stage('')
    throw error
  }
}

function isThere({ subject }: Pick<Making<Named>, 'subject'>): FleetError {
  return new FleetError('exists', `${subject} is there already`)
}
