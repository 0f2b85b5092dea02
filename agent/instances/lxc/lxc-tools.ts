import { accessSync, constants } from 'node:fs'
import { FleetError } from '../../../shared/errors.ts'
import type { InstanceState } from '../../../shared/instance-spec.ts'
import { inOwnService } from '../../exec/own-service.ts'
import type { Run } from '../../exec/run.ts'
import { isInstanceName } from '../instance-name.ts'

const TOOLS = '/usr/bin'
const TIMEOUT_MS = 30_000
/** Beyond what it gives the container to stop. */
const STOP_MARGIN_MS = 20_000
/** Its root is removed file by file. */
const DESTROY_TIMEOUT_MS = 3_600_000

export interface Standing {
  readonly state: InstanceState
  /** LXC believes that it is being frozen or thawed: it is, or whoever did it died. */
  readonly changing: boolean
  readonly pid: number | undefined
}

type Tool = 'ls' | 'info' | 'freeze' | 'start' | 'stop' | 'destroy'

/** LXC's words (lxc/state.h, 5.0). */
const STATES: Readonly<Record<string, InstanceState>> = { RUNNING: 'RUNNING', STOPPED: 'STOPPED', FROZEN: 'FROZEN' }

/** The `lxc-*` tools of LXC 4 and later, on the containers of one folder (their `-P`). Names are checked by the caller. */
export interface LxcTools {
  /** By name; containers whose configuration LXC cannot read are not among them. */
  standings(signal: AbortSignal): Promise<ReadonlyMap<string, Standing>>
  standing(name: string, signal: AbortSignal): Promise<Standing>
  /** To be ended by its time alone: see thaw-order.ts for what a killed one leaves. */
  freeze(name: string, timeoutMs: number): Promise<void>
  start(name: string, signal: AbortSignal): Promise<void>
  stop(name: string, graceMs: number, signal: AbortSignal): Promise<void>
  destroy(name: string, signal: AbortSignal): Promise<void>
}

export function createLxcTools(folder: string, run: Run): LxcTools {
  const call = async (tool: Tool, args: readonly string[], options: { signal: AbortSignal; timeoutMs?: number }) => {
    const file = `${TOOLS}/lxc-${tool}`
    checkInstalled(file)
    const { signal, timeoutMs = TIMEOUT_MS } = options
    const plain = [file, '-P', folder, ...args] as const
    const [program, ...rest] = tool === 'start' ? inOwnService([...plain]) : plain
    const { exitCode, stdout, stderr } = await run(program, rest, { signal, timeoutMs })
    if (exitCode === 0) return stdout
    throw new FleetError('internal', `lxc-${tool} failed`, { detail: stderr.trim().slice(-2_000) })
  }
  return {
    async standings(signal) {
      return parseStandings(await call('ls', ['-f', '-F', 'NAME,STATE,PID'], { signal }))
    },
    async standing(name, signal) {
      return parseStanding(await call('info', ['-n', name, '-s', '-p'], { signal }))
    },
    async freeze(name, timeoutMs) {
      await call('freeze', ['-n', name], { signal: new AbortController().signal, timeoutMs })
    },
    async start(name, signal) {
      await call('start', ['-n', name, '-d'], { signal })
    },
    async destroy(name, signal) {
      await call('destroy', ['-n', name], { signal, timeoutMs: DESTROY_TIMEOUT_MS })
    },
    async stop(name, graceMs, signal) {
      const seconds = Math.ceil(graceMs / 1_000)
      const how = seconds === 0 ? ['-k'] : ['-t', String(seconds)]
      await call('stop', ['-n', name, ...how], { signal, timeoutMs: graceMs + STOP_MARGIN_MS })
    },
  }
}

function checkInstalled(file: string): void {
  try {
    accessSync(file, constants.X_OK)
  } catch (cause) {
    throw new FleetError('unavailable', 'LXC is not installed', { cause, detail: file })
  }
}

/** A table with one line a container, `NAME STATE PID`, blanks between; `-` stands for no pid. */
export function parseStandings(table: string): ReadonlyMap<string, Standing> {
  const standings = new Map<string, Standing>()
  for (const line of table.split('\n').slice(1)) {
    const [, name = '', state = '', pid = ''] = /^(\S+)\s+([A-Z]+)\s+(\d+|-)\s*$/.exec(line) ?? []
    if (isInstanceName(name)) standings.set(name, standingOf(state, pid))
  }
  return standings
}

/** `State:` and, of a container that runs, `PID:`. */
export function parseStanding(lines: string): Standing {
  return standingOf(/^State: +(\w+)$/m.exec(lines)?.[1] ?? '', /^PID: +(\d+)$/m.exec(lines)?.[1] ?? '')
}

function standingOf(state: string, pid: string): Standing {
  const changing = state === 'FREEZING' || state === 'THAWED'
  return { state: STATES[state] ?? 'OTHER', changing, pid: /^[1-9]\d*$/.test(pid) ? Number(pid) : undefined }
}
