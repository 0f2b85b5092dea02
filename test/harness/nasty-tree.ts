import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/** What the walker tells of one name; which fields there are depends on the kind. */
export interface WalkedEntry {
  readonly kind: 'file' | 'directory' | 'symlink' | 'fifo' | 'character' | 'block' | 'socket'
  /** Octal. */
  readonly mode: string
  readonly uid: number
  readonly gid: number
  readonly mtimeNs: string
  /** Hex; ACLs and the attributes of root among them. */
  readonly attributes: Readonly<Record<string, string>>
  readonly size?: number
  readonly allocated?: number
  readonly hash?: string
  readonly target?: string
  readonly device?: readonly [major: number, minor: number]
  /** The first of the names of this file within the tree, where there are several. */
  readonly sameAs?: string
}

/** By path below the tree, a character a byte; '' is the tree itself. */
export type WalkedTree = Readonly<Record<string, WalkedEntry>>

/** A process of Python that makes, changes, walks and removes trees: none of the product's code has a part in it. */
export class Trees implements Disposable {
  readonly #child: ChildProcess
  readonly #answers: AsyncIterator<string>

  constructor() {
    const script = join(import.meta.dirname, 'trees.py')
    // It ends with us even when we are killed: who waits for our output would wait for its.
    const command = ['--pdeathsig', 'KILL', '--', '/usr/bin/python3', '-B', script]
    const child = spawn('/usr/bin/setpriv', command, { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#child = child
    this.#answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  }

  /** @param outside a path that becomes a second name of one of the tree's files */
  async nasty(directory: string, outside: string): Promise<void> {
    await this.#ask('nasty', directory, outside)
  }

  /** Deeper than any path that a system call takes; only descriptors get there. */
  async deep(directory: string): Promise<void> {
    await this.#ask('deep', directory)
  }

  /** Makes, or changes, a small tree: the same for the same seed and tree. */
  async change(directory: string, seed: number): Promise<void> {
    await this.#ask('change', directory, seed)
  }

  async walk(directory: string): Promise<WalkedTree> {
    // as: tree_walk.py's answer is of this shape
    return (await this.#ask('walk', directory)) as WalkedTree
  }

  /** Removes a tree that may be too deep for `rmSync`. */
  async forget(directory: string): Promise<void> {
    await this.#ask('forget', directory)
  }

  [Symbol.dispose](): void {
    this.#child.stdin?.end()
  }

  async #ask(...request: readonly (string | number)[]): Promise<unknown> {
    this.#child.stdin?.write(`${JSON.stringify(request)}\n`)
    const { value, done } = await this.#answers.next()
    if (done === true) throw new Error('trees.py ended')
    const [isGood, result]: [boolean, unknown] = JSON.parse(value)
    if (!isGood) throw new Error(`${request.join(' ')}: ${String(result)}`)
    return result
  }
}

/** What a file system may allocate beyond another's: a block at each end of an extent. */
const ALLOCATION_SLACK = 65_536
const MAX_TOLD = 30
const MAX_TEXT = 160

/** Every difference of two trees as a line; empty when they are the same, holes included. */
export function treeDifferences(found: WalkedTree, expected: WalkedTree): readonly string[] {
  const told: string[] = []
  for (const path of new Set([...Object.keys(found), ...Object.keys(expected)])) {
    const [own, other] = [found[path], expected[path]]
    const name = short(path)
    if (own === undefined) told.push(`${name} is missing`)
    else if (other === undefined) told.push(`${name} is not in the other`)
    else told.push(...entryDifferences(own, other).map((line) => `${name}: ${line}`))
  }
  return told.length <= MAX_TOLD ? told : [...told.slice(0, MAX_TOLD), `and ${told.length - MAX_TOLD} more`]
}

function entryDifferences(found: WalkedEntry, expected: WalkedEntry): readonly string[] {
  const told: string[] = []
  const [{ allocated: own = 0, ...ours }, { allocated: other = 0, ...theirs }] = [found, expected]
  for (const key of new Set([...Object.keys(ours), ...Object.keys(theirs)] as (keyof typeof ours)[])) {
    if (JSON.stringify(ours[key]) !== JSON.stringify(theirs[key]))
      told.push(`${key} is ${short(ours[key])}, expected ${short(theirs[key])}`)
  }
  if (own > other + ALLOCATION_SLACK) told.push(`it takes ${own} bytes, expected about ${other}`)
  return told
}

function short(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)}…`
}

/** The tree without some of its names and, where given, with some entries seen otherwise: what a format cannot carry. */
export function seenAs(
  tree: WalkedTree,
  see: (path: string, entry: WalkedEntry) => WalkedEntry | undefined,
): WalkedTree {
  const seen: Record<string, WalkedEntry> = {}
  for (const [path, entry] of Object.entries(tree)) {
    const kept = see(path, entry)
    if (kept !== undefined) seen[path] = kept
  }
  return seen
}

/** A socket is nothing that an archive can bring back: it is left out and told. */
export function withoutSockets(tree: WalkedTree): WalkedTree {
  return seenAs(tree, (_, entry) => (entry.kind === 'socket' ? undefined : entry))
}
