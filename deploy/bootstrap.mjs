/**
 * What `npm start`, `npm test` and the rest run first. Plain JavaScript for whatever Node (18 or newer) the machine has:
 * it brings node_modules up to date, then hands over to the Node that npm installed there.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
const MODULES = join(ROOT, 'node_modules')
const LOCAL_NODE = join(MODULES, '.bin', 'node')
const STAMP = join(MODULES, '.holdfast-installed')
const INSTALL_LOCK = join(ROOT, '.holdfast', 'install.lock')

const INSTALL_TIMEOUT_MS = 10 * 60_000
const INSTALL_LOCK_POLL_MS = 250
const PARENT_POLL_MS = 100
const OLDEST_USABLE_NODE = [24, 12]

const COMMANDS = {
  start: ['deploy/local.ts'],
  dev: ['deploy/local.ts', '--sim'],
  test: ['deploy/run-tests.ts'],
  check: ['deploy/run-checks.ts'],
  bench: ['bench/run.ts'],
}

class InstallError extends Error {}

function lockfileDigest() {
  return createHash('sha256')
    .update(readFileSync(join(ROOT, 'package-lock.json')))
    .update(`${process.platform}-${process.arch}`)
    .digest('hex')
}

function packagesOf(path) {
  return JSON.parse(readFileSync(path, 'utf8')).packages ?? {}
}

/** True when what npm last wrote into node_modules is what package-lock.json asks for, whoever ran npm. */
function isInstalled() {
  const written = join(MODULES, '.package-lock.json')
  if (!existsSync(written)) return false
  const present = packagesOf(written)
  const wanted = Object.entries(packagesOf(join(ROOT, 'package-lock.json')))
  return wanted.every(([path, entry]) => {
    const found = present[path]
    return path === '' || (found ? found.version === entry.version : entry.optional === true)
  })
}

function isUpToDate(digest) {
  if (!existsSync(STAMP)) return false
  return readFileSync(STAMP, 'utf8') === digest
}

/** npm runs under the machine's Node: the one in node_modules disappears while npm works. */
function npmCommand() {
  const node = [process.env.npm_node_execpath, process.execPath].find((path) => path && !path.startsWith(MODULES))
  const npm = process.env.npm_execpath
  return node && npm && existsSync(npm) ? [node, npm] : ['npm']
}

function pathWithout(folder) {
  return (process.env.PATH ?? '').split(delimiter).filter((entry) => entry !== folder)
}

function runNpm() {
  const [command, ...first] = npmCommand()
  const options = ['--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error']
  const ran = spawnSync(command, [...first, 'ci', ...options], {
    cwd: ROOT,
    encoding: 'utf8',
    timeout: INSTALL_TIMEOUT_MS,
    env: { ...process.env, PATH: pathWithout(join(MODULES, '.bin')).join(delimiter) },
  })
  if (ran.status === 0) return
  const reason = ran.error ? [ran.error.message] : `${ran.stdout}${ran.stderr}`.trim().split('\n').slice(-8)
  throw new InstallError(`npm ci did not succeed:\n${reason.map((line) => `  ${line}`).join('\n')}`)
}

function processExists(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

/** @returns {boolean} false when another process holds the lock. */
function tryInstallLock() {
  mkdirSync(dirname(INSTALL_LOCK), { recursive: true, mode: 0o700 })
  try {
    writeFileSync(INSTALL_LOCK, String(process.pid), { flag: 'wx' })
    return true
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
    const holder = Number(readFileSync(INSTALL_LOCK, 'utf8'))
    // An empty file is a holder between creating and writing; the bound of the wait ends it.
    if (holder > 0 && !processExists(holder)) rmSync(INSTALL_LOCK, { force: true })
    return false
  }
}

async function takeInstallLock() {
  const deadline = Date.now() + INSTALL_TIMEOUT_MS
  while (!tryInstallLock()) {
    if (Date.now() > deadline) throw new InstallError(`another install holds ${INSTALL_LOCK}; remove it if none runs`)
    await sleep(INSTALL_LOCK_POLL_MS)
  }
}

function dropInstallLock() {
  rmSync(INSTALL_LOCK, { force: true })
  try {
    rmdirSync(dirname(INSTALL_LOCK))
  } catch {
    // The state directory is in use: it stays.
  }
}

async function ensureInstalled() {
  const digest = lockfileDigest()
  if (isUpToDate(digest)) return
  await takeInstallLock()
  try {
    if (isUpToDate(digest)) return
    if (!isInstalled()) {
      console.log('installing npm packages (npm ci)')
      runNpm()
    }
    writeFileSync(STAMP, digest)
  } finally {
    dropInstallLock()
  }
}

/** The Node that npm brought, or this one when it is new enough and there is none for this platform. */
function usableNode() {
  if (existsSync(LOCAL_NODE)) return LOCAL_NODE
  const [major, minor] = process.versions.node.split('.').map(Number)
  const [oldestMajor, oldestMinor] = OLDEST_USABLE_NODE
  if (major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)) return process.execPath
  throw new InstallError(
    `npm has no Node for ${process.platform}-${process.arch}: install Node ${OLDEST_USABLE_NODE.join('.')} or newer`,
  )
}

/** Runs the command on the local Node until it ends; signals pass through, and it learns (by its channel) if we are killed. */
function handOver(command, args) {
  const bin = join(MODULES, '.bin')
  const child = spawn(usableNode(), [...COMMANDS[command], ...args], {
    cwd: ROOT,
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: {
      ...process.env,
      PATH: [bin, ...pathWithout(bin)].join(delimiter),
      // Stripped TypeScript is kept, which also saves each process about 17 MiB.
      NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE ?? join(MODULES, '.cache', 'node'),
    },
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  // npm killed outright tells nobody: its successor as our parent does.
  const parent = process.ppid
  const watch = setInterval(() => process.env.npm_execpath && process.ppid !== parent && child.kill(), PARENT_POLL_MS)
  watch.unref()
  child.once('error', (error) => fail(error.message))
  child.once('exit', (code, signal) => {
    process.exitCode = code ?? 128 + constants.signals[signal]
    clearInterval(watch)
    if (child.connected) child.disconnect()
    process.exit()
  })
}

function fail(message) {
  console.error(`holdfast: ${message}`)
  process.exit(1)
}

const [command = '', ...args] = process.argv.slice(2)
if (!Object.hasOwn(COMMANDS, command)) fail(`usage: node deploy/bootstrap.mjs ${Object.keys(COMMANDS).join('|')}`)
try {
  await ensureInstalled()
  handOver(command, args)
} catch (error) {
  fail(error instanceof InstallError || error.code ? error.message : error.stack)
}
