import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { InstancePlace, type InstanceType } from '../../../shared/instance-spec.ts'
import type { Instances } from '../../instances/instances.ts'
import { replaceFile, syncDirectory } from '../../points/durable-file.ts'

/** What an instance that is stopped for its backup is given until it is ended. */
export const STOP_GRACE_MS = 30_000
/** From its note on: so long one that runs may be on its way down, whoever asked it to being dead. */
const MAY_STOP_MS = STOP_GRACE_MS + 15_000
const RETRY_MS = 1_000
/** An engine may come up long after the agent does. */
const GIVE_UP_MS = 600_000
/** How long a job waits for it; it is tried on behind that. */
const WAIT_MS = 60_000
const START_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = STOP_GRACE_MS + 60_000

const Note = InstancePlace.extend({ pid: z.number().optional(), boot: z.string().optional() })

/**
 * What a job has stopped and will start again. The note is durable before the instance is stopped and goes once it runs again, so
 * that an agent that died in between starts it as its first act.
 */
export interface StoppedNotes {
  /** To be called before it is stopped. @param pid of its first process, by which it is known later whether it ever went down */
  note(jobId: string, place: InstancePlace, pid?: number): void
  /** Starts what the job's note names, if there is one; repeats are well. @throws unavailable when that takes over a minute */
  startAgain(jobId: string): Promise<void>
  /** Starts whatever an agent before this one left stopped, and tries for ten minutes. @returns how many are not started */
  startLeft(): Promise<number>
}

/** @param folder the agent's own; made when the first note is written @param signal ends what is tried in the background */
export function openStoppedNotes(
  folder: string,
  instancesOf: (type: InstanceType) => Instances,
  signal: AbortSignal,
): StoppedNotes {
  const pathOf = (jobId: string) => join(folder, `${jobId}.json`)
  const starting = new Map<string, Promise<void>>()

  async function start(jobId: string): Promise<void> {
    const note = readNote(pathOf(jobId))
    if (note === undefined) return
    const { place } = note
    const instances = instancesOf(place.type)
    const found = await instances.find(place.instance, AbortSignal.timeout(START_TIMEOUT_MS))
    if (found?.state === 'RUNNING' && mayStop(pathOf(jobId)))
      throw new FleetError('busy', 'the instance may be on its way down still')
    // Nobody is left who ends what does not go down in the time that it was given.
    if (found?.state === 'RUNNING' && note.pid !== undefined && found.pid === note.pid && note.boot === bootOf())
      await instances.stop(found.id, { graceMs: STOP_GRACE_MS, signal: AbortSignal.timeout(STOP_TIMEOUT_MS) })
    // Deleted meanwhile, or frozen by somebody who started it: neither is ours to change.
    if (found !== undefined && found.state !== 'FROZEN')
      await instances.start(found.id, AbortSignal.timeout(START_TIMEOUT_MS))
    rmSync(pathOf(jobId), { force: true })
    syncDirectory(folder)
  }

  /** It may be on its way down still, or its engine may be. */
  async function persist(jobId: string): Promise<void> {
    const until = performance.now() + GIVE_UP_MS
    for (;;) {
      try {
        return await start(jobId)
      } catch (thrown) {
        if (signal.aborted || performance.now() > until) throw thrown
        await pause(RETRY_MS, undefined, { ref: false })
      }
    }
  }

  function persistOnce(jobId: string): Promise<void> {
    const now = starting.get(jobId) ?? persist(jobId).finally(() => starting.delete(jobId))
    starting.set(jobId, now)
    return now
  }

  return {
    note(jobId, place, pid) {
      mkdirSync(folder, { recursive: true, mode: 0o700 })
      const note = { ...place, ...(pid === undefined ? {} : { pid, boot: bootOf() }) }
      replaceFile(pathOf(jobId), `${JSON.stringify(note)}\n`)
    },
    async startAgain(jobId) {
      if (!existsSync(pathOf(jobId))) return
      const working = persistOnce(jobId)
      working.catch(() => undefined) // the note stays
      await Promise.race([working, pause(WAIT_MS, undefined, { ref: false }).then(notYet)])
    },
    async startLeft() {
      const tried = await Promise.allSettled(notesIn(folder).map(persistOnce))
      return tried.filter(({ status }) => status === 'rejected').length
    },
  }
}

/** Engines go on with what they were asked, though nobody waits for it any more. */
function mayStop(path: string): boolean {
  const ageMs = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0)
  return ageMs >= 0 && ageMs < MAY_STOP_MS
}

function notYet(): never {
  throw new FleetError('unavailable', 'the instance that was stopped for its backup does not start')
}

function notesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).flatMap((name) => (name.endsWith('.json') ? [name.slice(0, -'.json'.length)] : []))
  } catch {
    return [] // none was ever written
  }
}

/** @returns undefined for what is no note of ours, or is gone by now */
function readNote(path: string) {
  try {
    const { pid, boot, ...place } = Note.parse(JSON.parse(readFileSync(path, 'utf8')))
    return { place, pid, boot }
  } catch {
    return undefined
  }
}

/** Processes have other numbers, or the same by chance, when the host has started again. */
function bootOf(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
}
