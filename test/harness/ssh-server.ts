import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findTool } from '../../deploy/tools.ts'
import { freePort } from './free-port.ts'
import { seeing } from './own-mounts.ts'
import { TestProcess } from './process.ts'
import { listening } from './until.ts'

export const SSH_PASSWORD = 'correct horse'

/** Why this machine cannot run a private sshd; undefined when it can. */
export function lacksSsh(): string | undefined {
  if (process.geteuid?.() !== 0) return 'a private /etc/shadow for sshd needs root'
  const missing = ['sshd', 'ssh-keygen', 'unshare', 'openssl'].filter((name) => findTool(name) === undefined)
  return missing.length === 0 ? undefined : `${missing.join(', ')} not installed`
}

/**
 * OpenSSH's own server on a port of its own, for root by key or by SSH_PASSWORD: its /etc/shadow is private to its mount
 * namespace. Clients see the machine's whole file system; a target's base keeps them in a folder.
 */
export class SshServer {
  readonly port: number
  readonly #folder: string
  readonly #process: TestProcess

  private constructor(folder: string, port: number, process: TestProcess) {
    this.#folder = folder
    this.port = port
    this.#process = process
  }

  static async start(folder: string): Promise<SshServer> {
    const port = await freePort()
    mkdirSync('/run/sshd', { recursive: true, mode: 0o755 })
    const keys = (name: string) =>
      execFileSync('/usr/bin/ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)])
    for (const name of ['host', 'other-host', 'client']) keys(name)
    writeFileSync(join(folder, 'authorized'), readFileSync(join(folder, 'client.pub')), { mode: 0o600 })
    const hash = execFileSync('/usr/bin/openssl', ['passwd', '-6', '-stdin'], { input: SSH_PASSWORD }).toString().trim()
    const shadow = readFileSync('/etc/shadow', 'utf8').replace(/^root:[^:]*:/m, `root:${hash}:`)
    writeFileSync(join(folder, 'shadow'), shadow, { mode: 0o600 })
    writeFileSync(join(folder, 'config'), config(folder, port, 'host'))
    const process = new TestProcess({
      name: 'sshd',
      ...seeing(join(folder, 'shadow'), '/etc/shadow', ['/usr/sbin/sshd', '-D', '-e', '-f', join(folder, 'config')]),
      environment: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
      workingDirectory: folder,
      logPath: join(folder, 'sshd.log'),
      stopSignal: 'SIGTERM',
      stopTimeoutMs: 5_000,
    })
    const server = new SshServer(folder, port, process)
    await server.resume()
    return server
  }

  get privateKey(): string {
    return readFileSync(join(this.#folder, 'client'), 'utf8')
  }

  get privateKeyPath(): string {
    return join(this.#folder, 'client')
  }

  async resume(): Promise<void> {
    this.#process.start()
    await listening(this.port)
  }

  /** Ends the listener and every session of it, as a crash of the machine would. */
  async kill(): Promise<void> {
    const children = () =>
      execFileSync('/bin/sh', ['-c', `pgrep -P ${this.#process.pid} || true`])
        .toString()
        .split('\n')
    const sessions = children().filter(Boolean).map(Number)
    await this.#process.signal('SIGKILL')
    for (const pid of sessions) killTree(pid)
  }

  /** The same server, with another key from its next start on. */
  changeHostKey(): void {
    writeFileSync(join(this.#folder, 'config'), config(this.#folder, this.port, 'other-host'))
  }

  log(): string {
    return this.#process.log()
  }
}

function killTree(pid: number): void {
  const children = execFileSync('/bin/sh', ['-c', `pgrep -P ${pid} || true`])
    .toString()
    .split('\n')
    .filter(Boolean)
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // ended with its listener
  }
  for (const child of children) killTree(Number(child))
}

function config(folder: string, port: number, hostKey: string): string {
  return `ListenAddress 127.0.0.1
Port ${port}
HostKey ${folder}/${hostKey}
PidFile none
AuthorizedKeysFile ${folder}/authorized
PermitRootLogin yes
PasswordAuthentication yes
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
MaxStartups 100
Subsystem sftp internal-sftp
`
}
