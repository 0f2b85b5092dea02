import { FleetError } from '../../../shared/errors.ts'
import { type BytePath, bytePath, bytesOf } from '../byte-path.ts'
import type { MemberType } from '../member.ts'
import { MAX_STEP_BYTES, type StepFiller, type StepTaker } from './step-ring.ts'
import type { TarEntry } from './tar-parser.ts'
import type { TreeMaker } from './tree-maker.ts'

const KIND = {
  ...{ directory: 1, special: 2, hardLink: 3, file: 4, fileAgain: 5 },
  ...{ write: 6, setLength: 7, endFile: 8, endPart: 9, finish: 10 },
  /** The beginning of a text that is longer than any step. */
  more: 11,
} as const
const TYPES: readonly MemberType[] = ['file', 'directory', 'symlink', 'hardlink', 'character', 'block', 'fifo']
/** What a TreeBuilder looks at of a pax header. */
const GIVEN = 'SCHILY.'
const NO_ATTRIBUTES: ReadonlyMap<string, string> = new Map()
const NOTHING = ''

/** Has the tree made by another thread: a step for each call. What fails there ends this side's waiting. */
export class TreeTeller implements TreeMaker {
  readonly #steps: StepFiller

  constructor(steps: StepFiller) {
    this.#steps = steps
  }

  directory(entry: TarEntry): void {
    this.#tell(KIND.directory, entry, entry.link)
  }

  special(entry: TarEntry): void {
    this.#tell(KIND.special, entry, entry.link)
  }

  hardLink(entry: TarEntry, target: BytePath): void {
    this.#tell(KIND.hardLink, entry, target)
  }

  beginFile(entry: TarEntry, isFirst: boolean): void {
    this.#tell(isFirst ? KIND.file : KIND.fileAgain, entry, entry.link)
  }

  write(bytes: Buffer, position: number): void {
    for (let done = 0; done < bytes.length; ) {
      const end = done + this.#steps.piece(bytes.length - done)
      this.#steps.put(KIND.write, [position + done], bytes.subarray(done, end))
      done = end
    }
  }

  setLength(size: number): void {
    this.#steps.put(KIND.setLength, [size], NOTHING)
  }

  endFile(_entry: TarEntry, isLast: boolean): void {
    this.#steps.put(isLast ? KIND.endFile : KIND.endPart, [], NOTHING)
  }

  pause(): void {
    this.#steps.flush()
  }

  finish(): void {
    this.#steps.put(KIND.finish, [], NOTHING)
    this.#steps.flush()
  }

  close(): void {}

  #tell(kind: number, entry: TarEntry, link: BytePath): void {
    const { name, mtime, type, mode, uid, gid, major, minor } = entry
    const numbers = [TYPES.indexOf(type), mode, uid, gid, major, minor, name.length, link.length, mtime.length]
    let text = `${name}${link}${mtime}${attributesText(entry)}`
    for (; text.length > MAX_STEP_BYTES; text = text.slice(MAX_STEP_BYTES))
      this.#steps.put(KIND.more, [], text.slice(0, MAX_STEP_BYTES))
    this.#steps.put(kind, numbers, text)
  }
}

/** Makes what a TreeTeller tells, until it has finished. @throws cancelled, what the maker throws */
export function makeTold(steps: StepTaker, tree: TreeMaker, throwIfStopped: () => void): void {
  let begun: TarEntry | undefined
  let more = ''
  for (let kind = steps.next(); kind !== KIND.finish; kind = steps.next()) {
    throwIfStopped()
    if (kind === KIND.write) tree.write(steps.bytes(), steps.number(0))
    else if (kind === KIND.setLength) tree.setLength(steps.number(0))
    else if (kind === KIND.more) more += steps.text()
    else if (begun !== undefined && (kind === KIND.endFile || kind === KIND.endPart))
      tree.endFile(begun, kind === KIND.endFile)
    else {
      begun = entryOf(steps, more + steps.text())
      more = ''
      begin(tree, kind, begun)
    }
  }
  tree.finish()
}

function begin(tree: TreeMaker, kind: number, entry: TarEntry): void {
  if (kind === KIND.file || kind === KIND.fileAgain) tree.beginFile(entry, kind === KIND.file)
  else if (kind === KIND.directory) tree.directory(entry)
  else if (kind === KIND.special) tree.special(entry)
  else if (kind === KIND.hardLink) tree.hardLink(entry, entry.link)
  else throw new FleetError('internal', 'a step of no known kind')
}

function entryOf(steps: StepTaker, text: string): TarEntry {
  const nameEnd = steps.number(6)
  const linkEnd = nameEnd + steps.number(7)
  const timeEnd = linkEnd + steps.number(8)
  return {
    name: text.slice(0, nameEnd),
    link: text.slice(nameEnd, linkEnd),
    mtime: text.slice(linkEnd, timeEnd),
    type: TYPES[steps.number(0)] ?? 'file',
    mode: steps.number(1),
    uid: steps.number(2),
    gid: steps.number(3),
    major: steps.number(4),
    minor: steps.number(5),
    storedSize: 0,
    attributes: timeEnd === text.length ? NO_ATTRIBUTES : attributesIn(text, timeEnd),
    sparse: undefined,
  }
}

/** The lengths of key and value, and both, of each that a tree gets. */
function attributesText({ attributes }: TarEntry): string {
  let text = ''
  for (const [key, value] of attributes) {
    if (!key.startsWith(GIVEN)) continue
    const bytes = bytePath(key)
    text += `${bytes.length} ${value.length} ${bytes}${value}`
  }
  return text
}

function attributesIn(text: string, start: number): ReadonlyMap<string, string> {
  const attributes = new Map<string, string>()
  for (let at = start; at < text.length; ) {
    const first = text.indexOf(' ', at)
    const second = text.indexOf(' ', first + 1)
    const keyEnd = second + 1 + Number(text.slice(at, first))
    const end = keyEnd + Number(text.slice(first + 1, second))
    attributes.set(bytesOf(text.slice(second + 1, keyEnd)).toString('utf8'), text.slice(keyEnd, end))
    at = end
  }
  return attributes
}
