import type { ChildProcess } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
} from 'node:fs'
import { connect, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { FleetError } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/logger.ts'
import { spawnDaemon } from '../../exec/daemon.ts'
import { type Control, createControl, TgtRefusal } from './control.ts'
import { parsePortals } from './target-text.ts'
import { type UsedTids, usedTids } from './used-tids.ts'

export const TGTD = '/usr/sbin/tgtd'
/** Of each LUN; tgtd's own default is 16, which are thousands where hundreds are exported. */
const THREADS_OF_A_LUN = 4
/** Seconds between questions whether an initiator is still there, and how many it may leave unanswered: its session ends then. */
const NOP_SECONDS = 30
const NOPS = 4

const SOCKET = 'control'
const PRIVATE_MODE = 0o700
const START_TIMEOUT_MS = 8_000
const POLL_MS = 5
const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 5_000

/** A tgtd that answers. */
export interface RunningTgtd {
  readonly control: Control
  /** Targets may be there already: it was found running, not started. */
  readonly adopted: boolean
  readonly tids: UsedTids
}

/**
 * Our own tgtd: its control socket lies in a directory of ours, so the system's (or another agent's) is another one. `idle` until it is
 * first needed; `running`; `down` (it died, or could not be started), when it is started again, sooner if somebody needs it.
 */
export interface TgtDaemon {
  /** Starts it if need be. @throws unavailable */
  running(): Promise<RunningTgtd>
  /** Whether one that an earlier process of this agent left still runs, or one was needed since. */
  isThere(): Promise<boolean>
  /** In place of the one that runs, which ends with all its sessions and targets. @throws unavailable */
  renewed(): Promise<RunningTgtd>
  /** Once all targets are gone, and another tgtd is there to make them in. */
  onLost(callback: () => void): void
  close(): Promise<void>
}

export interface TgtSettings {
  /** Absolute: for its socket and lock. */
  readonly directory: string
  /** `addr:port`, an IPv6 address in brackets. */
  readonly portals: readonly string[]
  /** It goes on when this agent ends, and the next process takes it over; else it ends with us, whatever ends us. */
  readonly outlives: boolean
}

export function createTgtDaemon(settings: TgtSettings, logger: Logger): TgtDaemon {
  const { portals, outlives } = settings
  mkdirSync(settings.directory, { recursive: true, mode: PRIVATE_MODE })
  const directory = realpathSync(settings.directory)
  chmodSync(directory, PRIVATE_MODE)
  const folder = openSync(directory, 'r')
  // Through the descriptor: names of sockets are short, those of directories need not be.
  const path = `/proc/self/fd/${folder}/${SOCKET}.0`
  const control = createControl(path)
  const lost: (() => void)[] = []
  const closing = new AbortController()
  let current: Promise<RunningTgtd> | undefined
  let watch: Socket | undefined
  let child: ChildProcess | undefined

  const answers = () =>
    control.ask({ mode: 'portal', operation: 'show' }).then(
      () => true,
      (error: unknown) => error instanceof TgtRefusal,
    )

  async function start(): Promise<RunningTgtd> {
    const adopted = await answers()
    if (!adopted) await spawn()
    try {
      await listen()
    } catch (error) {
      await kill()
      throw error
    }
    follow()
    logger.info({ event: adopted ? 'tgtd.adopted' : 'tgtd.started', portals })
    return { control, adopted, tids: usedTids(adopted) }
  }

  async function spawn(): Promise<void> {
    if (!existsSync(TGTD))
      throw new FleetError('unavailable', 'the iSCSI target daemon is not installed', { detail: TGTD })
    const [first = ''] = portals
    const iscsi = `portal=${first},nop_interval=${NOP_SECONDS},nop_count=${NOPS}`
    child = spawnDaemon({
      description: 'Holdfast: iSCSI targets',
      file: TGTD,
      args: ['-f', '-C', '0', '-t', String(THREADS_OF_A_LUN), '--iscsi', iscsi],
      directory,
      environment: { TGT_IPC_SOCKET: SOCKET },
      outlives,
    })
    let failed: unknown
    child.once('error', (error) => {
      failed = error
    })
    const untilMs = performance.now() + START_TIMEOUT_MS
    while (!(await answers())) {
      const ended = failed !== undefined || (child.exitCode ?? 0) !== 0 || child.signalCode !== null
      if (ended || performance.now() > untilMs || closing.signal.aborted) {
        await kill()
        const detail = `tgtd ${ended ? 'ended' : 'did not answer'} while it was started for ${portals.join(', ')}`
        throw new FleetError('unavailable', 'the iSCSI target daemon cannot be started', { detail, cause: failed })
      }
      await pause(POLL_MS)
    }
  }

  /** Its portals are ours: none is missing, and none is left of an earlier setting. */
  async function listen(): Promise<void> {
    const there = parsePortals(await control.ask({ mode: 'portal', operation: 'show' }))
    const change = (operation: 'new' | 'delete', portal: string) =>
      control.ask({ mode: 'portal', operation, params: `portal=${portal}` })
    try {
      for (const portal of there.filter((one) => !portals.includes(one))) await change('delete', portal)
      for (const portal of portals.filter((one) => !there.includes(one))) await change('new', portal)
    } catch (cause) {
      const detail = `portals ${portals.join(', ')}: ${String(cause)}`
      throw new FleetError('unavailable', 'the iSCSI target daemon cannot listen at its portals', { detail, cause })
    }
  }

  /** A connection on which nothing is asked ends when tgtd does. */
  function follow(): void {
    const socket = connect(path)
    watch = socket
    socket.on('error', () => undefined)
    socket.once('close', () => {
      if (watch !== socket) return
      watch = undefined
      current = undefined
      if (closing.signal.aborted) return
      logger.warn({ event: 'tgtd.lost' })
      void revive()
    })
    socket.unref()
  }

  async function revive(): Promise<void> {
    for (let waitMs = FIRST_RETRY_MS; !closing.signal.aborted; waitMs = Math.min(2 * waitMs, LAST_RETRY_MS)) {
      const found = await running().then(
        () => true,
        (error: unknown) => {
          logger.error({ event: 'tgtd.down', err: error instanceof Error ? error : new Error(String(error)) })
          return false
        },
      )
      if (found) {
        for (const callback of lost) callback()
        return
      }
      await pause(waitMs, undefined, { signal: closing.signal, ref: false }).catch(() => undefined)
    }
  }

  function running(): Promise<RunningTgtd> {
    if (closing.signal.aborted) return Promise.reject(new FleetError('unavailable', 'the agent is stopping'))
    current ??= start().catch((error: unknown) => {
      current = undefined
      throw error
    })
    return current
  }

  async function kill(): Promise<void> {
    child?.kill('SIGKILL')
    for (const pid of processesIn(directory)) signal(pid)
    for (let n = 0; n < START_TIMEOUT_MS / POLL_MS && (await answers()); n += 1) await pause(POLL_MS)
  }

  return {
    running,
    isThere: async () => current !== undefined || (await answers()),
    async renewed() {
      watch?.destroy()
      watch = undefined
      await kill()
      current = undefined
      const found = await running()
      for (const callback of lost) callback()
      return found
    },
    onLost: (callback) => void lost.push(callback),
    async close() {
      if (closing.signal.aborted) return
      closing.abort()
      await current?.catch(() => undefined)
      if (!outlives) await kill()
      watch?.destroy()
      closeSync(folder)
    },
  }
}

/** Ends the tgtd that an agent with other settings left in its directory. */
export function endLeftTgtd(directory: string): void {
  if (!existsSync(directory)) return
  for (const pid of processesIn(realpathSync(directory))) signal(pid)
}

/** Every tgtd that runs in this directory: its own that this or an earlier process of the agent started. */
function processesIn(directory: string): readonly number[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return pids.map(Number).filter((pid) => {
    try {
      const name = readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
      return name === 'tgtd' && readlinkSync(`/proc/${pid}/cwd`) === directory
    } catch {
      return false
    }
  })
}

function signal(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // ESRCH: it ended by itself
  }
}
