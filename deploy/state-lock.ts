import { randomUUID } from 'node:crypto'
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { PRIVATE_FILE_MODE } from './atomic-file.ts'
import { identify, isAlive, ProcessIdentity } from './process-identity.ts'
import { StartError } from './start-error.ts'

/** How often a lock that vanishes or goes stale under our hands is tried again. */
const MAX_ATTEMPTS = 5

/**
 * One process per state directory: `<state>/lock` names its holder by pid and start time.
 * A lock whose holder is gone is taken over.
 */
export class StateLock implements Disposable {
  readonly #path: string
  readonly #text: string

  private constructor(path: string, text: string) {
    this.#path = path
    this.#text = text
  }

  /** @throws StartError naming the living process that holds the lock. */
  static take(path: string): StateLock {
    const me = identify(process.pid) ?? { pid: process.pid, startedAt: 'unknown' }
    const lock = new StateLock(path, JSON.stringify(me))
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      if (lock.#create()) return lock
      const held = readIfThere(path)
      if (held === undefined) continue
      const holder = holderOf(held)
      if (holder && isAlive(holder)) {
        throw new StartError(`another holdfast (pid ${holder.pid}) is using this state directory: ${path}`)
      }
      setAside(path, held)
    }
    throw new StartError(`${path} changes hands too fast; try again`)
  }

  /** The lock appears complete or not at all: it is written under another name first. */
  #create(): boolean {
    const draft = `${this.#path}.${randomUUID()}`
    writeFileSync(draft, this.#text, { mode: PRIVATE_FILE_MODE })
    try {
      linkSync(draft, this.#path)
      return true
    } catch (error) {
      if (isCode(error, 'EEXIST')) return false
      throw error
    } finally {
      rmSync(draft, { force: true })
    }
  }

  [Symbol.dispose](): void {
    if (readIfThere(this.#path) === this.#text) rmSync(this.#path, { force: true })
  }
}

/** Removes the stale lock, and only that one: of two that try, the slower puts back what the faster has made. */
function setAside(path: string, stale: string): void {
  const aside = `${path}.${randomUUID()}`
  try {
    renameSync(path, aside)
  } catch (error) {
    if (isCode(error, 'ENOENT')) return
    throw error
  }
  try {
    if (readFileSync(aside, 'utf8') !== stale) linkSync(aside, path)
  } catch (error) {
    if (!isCode(error, 'EEXIST')) throw error
  } finally {
    rmSync(aside, { force: true })
  }
}

function holderOf(text: string): ProcessIdentity | undefined {
  try {
    return ProcessIdentity.safeParse(JSON.parse(text)).data
  } catch {
    return undefined
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined
    throw error
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
