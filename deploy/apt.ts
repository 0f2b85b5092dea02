import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { StartError } from './start-error.ts'
import { findTool, runTool, whyToolFailed } from './tools.ts'

const INSTALL_TIMEOUT_MS = 10 * 60_000
const LISTS = '/var/lib/apt/lists'
const LISTS_MAX_AGE_MS = 24 * 60 * 60_000
const OPTIONS = ['-y', '-q', '-o', 'DPkg::Lock::Timeout=120', '-o', 'Dpkg::Use-Pty=0']
const ENVIRONMENT = { DEBIAN_FRONTEND: 'noninteractive', DEBCONF_NONINTERACTIVE_SEEN: 'true' }

const MARK = '# made by holdfast while it installs packages'
/** invoke-rc.d asks this program before it starts a service; 101 says no. */
const POLICY = '/usr/sbin/policy-rc.d'
/** Keeps postgresql from making (and at boot starting) a cluster of its own, which nobody here uses. */
const CLUSTER_RULE = '/etc/postgresql-common/createcluster.d/holdfast.conf'
/** The units that our packages bring, services unless they say what; we run private ones. */
const SERVICES = [
  ...['nats-server', 'postgresql', 'ssh', 'memcached', 'rsyslog', 'swift-proxy', 'swift-account', 'swift-container'],
  ...['auditor', 'reaper', 'replicator'].map((part) => `swift-account-${part}`),
  ...['auditor', 'reconciler', 'replicator', 'sharder', 'sync', 'updater'].map((part) => `swift-container-${part}`),
  ...['swift-object', 'swift-object-auditor', 'swift-object-reconstructor', 'swift-object-replicator'],
  'swift-object-updater',
  ...['lxc', 'lxc-net', 'lxc-monitord', 'podman', 'podman.socket', 'podman-auto-update', 'podman-auto-update.timer'],
  'podman-restart',
  'tgt',
  'run-qemu.mount',
]

export function canUseApt(): boolean {
  return process.getuid?.() === 0 && existsSync('/etc/debian_version') && findTool('apt-get') !== undefined
}

/** Installs Debian packages without starting, enabling or configuring any service of theirs. @throws StartError */
export async function installPackages(names: readonly string[], say: (line: string) => void): Promise<void> {
  say(`installing ${names.join(' ')} (apt-get install --no-install-recommends; no service is started)`)
  const earlier = SERVICES.filter(hasUnit)
  const undo = [
    withFile(POLICY, `#!/bin/sh\n${MARK}\nexit 101\n`, 0o755),
    withFile(CLUSTER_RULE, `${MARK}\ncreate_main_cluster = false\n`, 0o644),
  ]
  try {
    if (listsAreOld()) await apt(['update'])
    await installOrUpdateFirst(names)
    for (const service of SERVICES) if (!earlier.includes(service) && hasUnit(service)) await disable(service)
  } catch (error) {
    throw new StartError(`apt-get could not install ${names.join(' ')}: ${whyToolFailed(error)}`)
  } finally {
    for (const restore of undo) restore()
  }
}

async function installOrUpdateFirst(names: readonly string[]): Promise<void> {
  const install = ['install', '--no-install-recommends', ...names]
  try {
    await apt(install)
  } catch {
    // Lists that are out of date name files that are gone; an interrupted dpkg refuses until it is finished.
    await runTool('/usr/bin/dpkg', ['--configure', '-a'], { timeoutMs: INSTALL_TIMEOUT_MS, environment: ENVIRONMENT })
    await apt(['update'])
    await apt(install)
  }
}

async function apt(args: readonly string[]): Promise<void> {
  const program = findTool('apt-get')
  if (!program) throw new Error('apt-get is not installed')
  await runTool(program, [...OPTIONS, ...args], { timeoutMs: INSTALL_TIMEOUT_MS, environment: ENVIRONMENT })
}

function listsAreOld(): boolean {
  const lists = existsSync(LISTS) ? readdirSync(LISTS).filter((name) => /_Packages(\.|$)/.test(name)) : []
  return lists.length === 0 || Date.now() - statSync(LISTS).mtimeMs > LISTS_MAX_AGE_MS
}

/** Makes a file for the time being; one that somebody else put there is respected. @returns what takes it away. */
function withFile(path: string, text: string, mode: number): () => void {
  if (existsSync(path) && !readFileSync(path, 'utf8').includes(MARK)) return () => {}
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text, { mode })
  return () => rmSync(path, { force: true })
}

function unitOf(service: string): string {
  return service.includes('.') ? service : `${service}.service`
}

function hasUnit(service: string): boolean {
  return ['/lib', '/usr/lib', '/etc'].some((root) => existsSync(`${root}/systemd/system/${unitOf(service)}`))
}

/** Best effort on purpose: a machine without systemd or sysv-rc has nothing to disable. */
async function disable(service: string): Promise<void> {
  const helper = findTool('deb-systemd-helper')
  // It works for maintainer scripts only, which this variable tells it.
  const environment = { DPKG_MAINTSCRIPT_PACKAGE: service }
  if (helper) await runTool(helper, ['disable', unitOf(service)], { environment }).catch(() => undefined)
  const legacy = findTool('update-rc.d')
  if (legacy) await runTool(legacy, [service, 'disable']).catch(() => undefined)
}
