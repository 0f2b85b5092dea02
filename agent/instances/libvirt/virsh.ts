import { randomUUID } from 'node:crypto'
import { accessSync, constants } from 'node:fs'
import { FleetError } from '../../../shared/errors.ts'
import type { InstanceState } from '../../../shared/instance-spec.ts'
import type { Run } from '../../exec/run.ts'

const VIRSH = '/usr/bin/virsh'
const TIMEOUT_MS = 20_000
/** A saved domain's memory is read. */
const START_TIMEOUT_MS = 300_000
/** Looked at by one process; some 20 KB are told of each. */
const AT_ONCE = 50
const MAX_OUTPUT_BYTES = 16 * 2 ** 20
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

export function isUuid(text: string): boolean {
  return UUID.test(text)
}

/** A domain as it is told of by libvirt. */
export interface Seen {
  readonly uuid: string
  readonly state: InstanceState
  /** Its own processors are halted, whoever did that and why. */
  readonly isPaused: boolean
  /** It suspended itself to memory: it is woken, not started. */
  readonly isAsleep: boolean
  /** It is defined: it is there also when it does not run. */
  readonly isPersistent: boolean
  /** As it is now. */
  readonly xml: string
  /** As it starts the next time. */
  readonly kept: string
}

/**
 * `virsh` of libvirt 9 on one connection. Domains go by their UUIDs alone: a name may begin with a dash, be a number, or be somebody else's UUID.
 * @throws of every call: not_found; conflict (its state forbids it); unavailable (no tool, no daemon); internal
 */
export interface Virsh {
  uuids(signal: AbortSignal): Promise<readonly string[]>
  /** Those that are there of them. */
  look(uuids: readonly string[], signal: AbortSignal): Promise<readonly Seen[]>
  state(uuid: string, signal: AbortSignal): Promise<Pick<Seen, 'state' | 'isPaused'>>
  act(
    command: 'suspend' | 'resume' | 'destroy' | 'shutdown' | 'start' | 'dompmwakeup',
    uuid: string,
    options: Options,
  ): Promise<void>
  /** Through the agent in it. @returns how many file systems */
  fileSystems(command: 'domfsfreeze' | 'domfsthaw', uuid: string, options: Options): Promise<number>
}

interface Options {
  readonly signal: AbortSignal
  readonly timeoutMs?: number
}

export function createVirsh(uri: string, run: Run): Virsh {
  const call = async (args: readonly string[], { signal, timeoutMs = TIMEOUT_MS }: Options): Promise<string> => {
    checkInstalled()
    const given = ['-c', uri, ...args]
    const { exitCode, stdout, stderr } = await run(VIRSH, given, {
      signal,
      timeoutMs,
      maxOutputBytes: MAX_OUTPUT_BYTES,
    })
    if (exitCode === 0) return stdout
    throw failureOf(stderr)
  }

  async function lookAt(uuids: readonly string[], signal: AbortSignal): Promise<readonly Seen[]> {
    // Nobody who writes a domain's description knows it.
    const mark = randomUUID()
    const told = await call(['-q', scriptOf(uuids, mark)], { signal })
    const sections = sectionsOf(told, mark)
    if (!sections.has('end')) throw new FleetError('too_large', 'libvirt tells more of its domains than is read')
    return uuids.flatMap((uuid) => {
      const seen = seenOf(uuid, (what) => sections.get(`${uuid} ${what}`) ?? '')
      return seen === undefined ? [] : [seen]
    })
  }

  return {
    async uuids(signal) {
      const lines = (await call(['-q', 'list', '--all', '--uuid'], { signal })).split('\n').map((line) => line.trim())
      return lines.filter(isUuid)
    },
    async look(uuids, signal) {
      const seen: Seen[] = []
      for (let at = 0; at < uuids.length; at += AT_ONCE)
        seen.push(...(await lookAt(uuids.slice(at, at + AT_ONCE), signal)))
      return seen
    },
    async state(uuid, signal) {
      const { isSaved: _, ...standing } = standingOf(
        await call(['-q', 'domstate', '--domain', uuid, '--reason'], { signal }),
      )
      return standing
    },
    async act(command, uuid, options) {
      const timeoutMs = options.timeoutMs ?? (command === 'start' ? START_TIMEOUT_MS : TIMEOUT_MS)
      await call(['-q', command, '--domain', uuid], { ...options, timeoutMs })
    },
    async fileSystems(command, uuid, options) {
      // `Thawed 2 filesystem(s)`, which it keeps for itself when it is to be quiet.
      return Number(/(\d+)/.exec(await call([command, '--domain', uuid], options))?.[1] ?? 0)
    },
  }
}

/** What is not there any more tells nothing, and the next goes on. */
function scriptOf(uuids: readonly string[], mark: string): string {
  const all = uuids.flatMap((uuid) => [
    `echo ${mark} ${uuid} state:`,
    `domstate --domain ${uuid} --reason`,
    `echo ${mark} ${uuid} info:`,
    `dominfo --domain ${uuid}`,
    `echo ${mark} ${uuid} xml:`,
    `dumpxml --domain ${uuid}`,
    `echo ${mark} ${uuid} kept:`,
    `dumpxml --domain ${uuid} --inactive`,
  ])
  return [...all, `echo ${mark} end:`].join('; ')
}

/** By their titles. Its `echo` ends no line. */
function sectionsOf(told: string, mark: string): ReadonlyMap<string, string> {
  const sections = told.split(mark).slice(1)
  return new Map(sections.map((text) => [text.slice(0, text.indexOf(':')).trim(), text.slice(text.indexOf(':') + 1)]))
}

function seenOf(uuid: string, section: (what: string) => string): Seen | undefined {
  const [xml, kept, info] = [section('xml'), section('kept'), section('info')]
  if (xml.trim() === '' || kept.trim() === '') return undefined
  const { state, isPaused, isSaved: isAsleep } = standingOf(section('state'))
  const isKept = /^Managed save: +yes$/m.test(info)
  const isPersistent = /^Persistent: +yes$/m.test(info)
  return { uuid, state: state === 'STOPPED' && isKept ? 'SAVED' : state, isPaused, isAsleep, isPersistent, xml, kept }
}

/** Paused for a while, by libvirt itself. */
const PASSING: ReadonlySet<string> = new Set([
  ...['migrating', 'saving', 'dumping', 'from snapshot', 'shutting down', 'creating snapshot', 'starting up'],
  ...['post-copy', 'post-copy failed'],
])

/** `paused (user)`, `shut off (destroyed)` and their like. */
function standingOf(text: string): Pick<Seen, 'state' | 'isPaused'> & { readonly isSaved: boolean } {
  const [, word = '', reason = ''] = /^(.*?)(?: \((.*)\))?$/.exec(text.trim()) ?? []
  const isPaused = word === 'paused'
  const state = isPaused && PASSING.has(reason) ? 'OTHER' : (STATES[word] ?? 'OTHER')
  return { state, isPaused, isSaved: word === 'pmsuspended' }
}
/** virsh's words (tools/virsh-domain-monitor.c, 9.0). `idle`: it waits for input. */
const STATES: Readonly<Record<string, InstanceState>> = {
  running: 'RUNNING',
  idle: 'RUNNING',
  paused: 'FROZEN',
  'shut off': 'STOPPED',
  pmsuspended: 'SAVED',
}

function failureOf(stderr: string): FleetError {
  const detail = stderr.trim().slice(-2_000)
  if (/failed to connect to the hypervisor/.test(stderr))
    return new FleetError('unavailable', 'libvirt does not answer', { detail })
  if (/Domain not found/.test(stderr)) return new FleetError('not_found', 'no domain of this name', { detail })
  if (/Requested operation is not valid/.test(stderr))
    return new FleetError('conflict', 'the state of the domain does not allow this', { detail })
  return new FleetError('internal', 'virsh failed', { detail })
}

function checkInstalled(): void {
  try {
    accessSync(VIRSH, constants.X_OK)
  } catch (cause) {
    throw new FleetError('unavailable', 'virsh is not installed', { cause, detail: VIRSH })
  }
}
