import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { FleetError } from '../../shared/errors.ts'
import { type Run, run } from '../exec/run.ts'
import { isDatasetAbsence, zfsError } from './zfs-error.ts'

const ZFS_PATHS = ['/usr/sbin/zfs', '/sbin/zfs', '/usr/local/sbin/zfs']
const TIMEOUT_MS = 120_000
/** As long as a volume may be read. */
const SEND_TIMEOUT_MS = 24 * 3_600_000
/** Names and properties of one call; a listing that fills this is an error, never half a list. */
const MAX_OUTPUT_BYTES = 64 * 2 ** 20
/** Names in one call: 255 bytes each at most, far below what a process takes as arguments. */
const MAX_NAMES = 400

export type ZfsRow<Column extends string> = Readonly<Record<Column, string>>

export interface ListRequest<Column extends string> {
  readonly columns: readonly Column[]
  readonly types: readonly ('filesystem' | 'volume' | 'snapshot' | 'bookmark')[]
  /** Full names; those that are not there are left out of the answer. */
  readonly names: readonly string[]
  /** How many levels below each name: 0 only itself. Without one, all. */
  readonly depth?: number
}

export interface Zfs {
  /** @returns stdout. Failures are FleetErrors by what the tool says. */
  call(args: readonly string[], signal: AbortSignal): Promise<string>
  /** In the tool's own sequence; asks once for as many names as one call takes. Numbers are exact, absent values are `-`. */
  list<Column extends string>(request: ListRequest<Column>, signal: AbortSignal): Promise<readonly ZfsRow<Column>[]>
  /** Runs a channel program: one transaction for all it does. @returns what it returns, parsed */
  program(
    request: { readonly pool: string; readonly text: string; readonly args: readonly string[] },
    signal: AbortSignal,
  ): Promise<unknown>
  /**
   * What was written between a snapshot or its bookmark and a later snapshot, as a stream (`send-stream.ts`), in which bytes are as they lie on
   * the disk. @param take gets it piece by piece; what it throws ends it and is thrown
   */
  send(
    between: { readonly from: string; readonly to: string },
    take: (chunk: Buffer) => void,
    signal: AbortSignal,
  ): Promise<void>
  /** Waits until what was written to the pool is in a transaction that is through. */
  sync(pool: string, signal: AbortSignal): Promise<void>
}

export function findZfs(): string | undefined {
  return ZFS_PATHS.find((path) => existsSync(path))
}

/** The `zfs` of this host. Names are checked by the caller (`names.ts`). @throws unavailable where there is none */
export function openZfs(exec: Run = run): Zfs {
  const file = findZfs()
  if (file === undefined) throw new FleetError('unavailable', 'this host has no ZFS')

  async function raw(args: readonly string[], signal: AbortSignal, input?: string) {
    const options = { signal, timeoutMs: TIMEOUT_MS, maxOutputBytes: MAX_OUTPUT_BYTES }
    const result = await exec(file ?? '', args, input === undefined ? options : { ...options, input })
    if (result.stdout.length >= MAX_OUTPUT_BYTES) throw new FleetError('too_large', 'the pool holds too much to list')
    return result
  }

  async function call(args: readonly string[], signal: AbortSignal): Promise<string> {
    const { exitCode, stdout, stderr } = await raw(args, signal)
    if (exitCode !== 0) throw zfsError(stderr)
    return stdout
  }

  return {
    call,

    async list({ columns, types, names, depth }, signal) {
      const rows: ZfsRow<(typeof columns)[number]>[] = []
      const levels = depth === undefined ? ['-r'] : ['-d', String(depth)]
      for (let first = 0; first < names.length; first += MAX_NAMES) {
        const some = names.slice(first, first + MAX_NAMES)
        const args = ['list', '-H', '-p', ...levels, '-t', types.join(','), '-o', columns.join(','), ...some]
        const { exitCode, stdout, stderr } = await raw(args, signal)
        if (exitCode !== 0 && !onlyAbsence(stderr)) throw zfsError(stderr)
        rows.push(...parseRows(stdout, columns))
      }
      return rows
    },

    async program({ pool, text, args }, signal) {
      const { exitCode, stdout, stderr } = await raw(['program', '-j', pool, '-', ...args], signal, text)
      if (exitCode !== 0) throw zfsError(stderr)
      const answer: unknown = JSON.parse(stdout)
      if (typeof answer !== 'object' || answer === null || !('return' in answer)) {
        throw new FleetError('internal', 'ZFS answered what is not understood', { detail: stdout })
      }
      return answer.return
    },

    async send({ from, to }, take, signal) {
      const options = { signal, timeoutMs: SEND_TIMEOUT_MS, onOutput: take }
      const { exitCode, stderr } = await exec(file, ['send', '-w', '-i', from, to], options)
      if (exitCode !== 0) throw zfsError(stderr)
    },

    async sync(pool, signal) {
      const { exitCode, stderr } = await exec(join(dirname(file), 'zpool'), ['sync', pool], {
        signal,
        timeoutMs: TIMEOUT_MS,
      })
      if (exitCode !== 0) throw zfsError(stderr)
    },
  }
}

function onlyAbsence(stderr: string): boolean {
  const lines = stderr.split('\n').filter((line) => line !== '')
  return lines.length > 0 && lines.every(isDatasetAbsence)
}

/** @param text lines of values between tabs, as `-H` prints them */
export function parseRows<Column extends string>(text: string, columns: readonly Column[]): readonly ZfsRow<Column>[] {
  const lines = text.split('\n').filter((line) => line !== '')
  return lines.map((line) => {
    const values = line.split('\t')
    if (values.length !== columns.length) {
      throw new FleetError('internal', 'ZFS answered what is not understood', { detail: line })
    }
    // as: every column has a value, the lengths are the same
    return Object.fromEntries(columns.map((column, index) => [column, values[index]])) as ZfsRow<Column>
  })
}
