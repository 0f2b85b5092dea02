import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { lacksTool } from './system-packages.ts'

const QEMU_IO = '/usr/bin/qemu-io'
/** qemu's own iSCSI, by libiscsi: no kernel module, any number of initiator names on one machine. */
const BLOCK_DRIVERS = [
  '/usr/lib/x86_64-linux-gnu/qemu/block-iscsi.so',
  '/usr/lib/aarch64-linux-gnu/qemu/block-iscsi.so',
]
/** Long: libiscsi connects again and again to a target that went away. */
const TIMEOUT_MS = 10_000

export interface Login {
  /** `addr:port` */
  readonly portal: string
  readonly target: string
  readonly lun: number
  readonly initiator: string
  /** It asks for reading alone: what may not be written to is not even opened otherwise. */
  readonly reads?: boolean
}

/** Why this machine has no initiator in user space. */
export function lacksInitiator(): string | undefined {
  if (!existsSync(QEMU_IO)) return lacksTool('qemu-io')
  const found = BLOCK_DRIVERS.some((path) => existsSync(path))
  return found ? undefined : 'qemu-block-extra not installed'
}

function lun({ portal, target, lun: number, initiator, reads = false }: Login): readonly string[] {
  const file = { driver: 'iscsi', transport: 'tcp', portal, target, lun: String(number), 'initiator-name': initiator }
  const members = Object.entries(file).map(([name, value]) => `file.${name}=${value}`)
  return [...(reads ? ['-r'] : []), '--image-opts', ['driver=raw', ...members].join(',')]
}

interface Said {
  /** Everything was done. */
  readonly ok: boolean
  readonly text: string
}

function say(login: Login, commands: readonly string[]): Promise<Said> {
  const args = [...lun(login), ...commands.flatMap((command) => ['-c', command])]
  return new Promise((resolve) => {
    execFile(QEMU_IO, args, { timeout: TIMEOUT_MS }, (error, text) => resolve({ ok: error === null, text }))
  })
}

/** Logs in, does what is said in qemu-io's words, and logs out. @returns what it says; undefined: it was not let in, or could not */
export async function onLun(login: Login, ...commands: readonly string[]): Promise<string | undefined> {
  const { ok, text } = await say(login, commands)
  return ok ? text : undefined
}

/** Whether so many bytes of the LUN are all `byte`; undefined where it was not let in. */
export async function holds(
  login: Login,
  byte: number,
  { from = 0, bytes = 65_536 } = {},
): Promise<boolean | undefined> {
  const { ok, text } = await say(login, ['read 0 512', `read -P ${byte} ${from} ${bytes}`])
  return text.includes('read 512/512') ? ok : undefined
}

/** A session that stays. */
export interface HeldSession {
  /** Whether it can still read: one that was thrown out asks again and again, and answers never. Nothing may be asked after a false. */
  reads(withinMs?: number): Promise<boolean>
  end(): Promise<void>
}

export async function holdSession(login: Login): Promise<HeldSession> {
  // Into a pipe it would say nothing until it ends.
  const child = spawn('/usr/bin/stdbuf', ['-oL', QEMU_IO, ...lun(login)], { stdio: 'pipe' })
  if ((await said(child, 'read 0 512')) === '') throw new Error(`${login.initiator} cannot log in to ${login.target}`)
  return {
    async reads(withinMs = TIMEOUT_MS) {
      const told = await Promise.race([said(child, 'read 0 512', withinMs), once(child, 'exit').then(() => '')])
      return told.includes('read 512/512')
    },
    async end() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
    },
  }
}

/** What it answers to one command; '' when that takes too long. */
function said(child: ChildProcessWithoutNullStreams, command: string, withinMs = TIMEOUT_MS): Promise<string> {
  return new Promise((resolve) => {
    const late = setTimeout(() => resolve(''), withinMs)
    let told = ''
    const take = (chunk: Buffer) => {
      told += chunk
      if (!/ops\/sec\)|failed|error/i.test(told)) return
      child.stdout.off('data', take)
      clearTimeout(late)
      resolve(told)
    }
    child.stdout.on('data', take)
    child.stdin.write(`${command}\n`)
  })
}
