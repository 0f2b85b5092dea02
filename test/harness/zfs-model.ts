import type { Zfs } from '../../agent/zfs/zfs.ts'
import { zfsError } from '../../agent/zfs/zfs-error.ts'
import { FleetError } from '../../shared/errors.ts'
import { sentStream } from './sent-stream.ts'

interface Dataset {
  readonly type: 'filesystem' | 'volume'
  readonly guid: string
  readonly props: Map<string, string>
  readonly creation: number
  volsize: number
  origin: string
  written: number
  logical: number
  content: string
}

interface Snapshot {
  readonly guid: string
  readonly volsize: number
  readonly content: string
  readonly written: number
  readonly order: number
  readonly creation: number
}

/** The process ended before this command. */
export class Died extends Error {}

export interface ZfsModel {
  readonly zfs: Zfs
  write(device: string, text: string): void
  read(device: string, bytes: number): string
  /** All names, as `zfs list -t all` would tell them. */
  names(): readonly string[]
  /** How many commands that change something are still carried out; from then on all end in `Died`. */
  lives(commands: number): void
}

/**
 * What ZFS makes of the commands that this agent gives for volumes, as its manual says it: a model of the tool, where the tool is not. It
 * knows volumes, snapshots, clones, renames, promotions and user properties; nothing of devices, space or transactions.
 */
export function modelOfZfs(root: string): ZfsModel {
  const datasets = new Map<string, Dataset>()
  const snapshots = new Map<string, Snapshot>()
  /** By name, of what each is one. */
  const bookmarks = new Map<string, Snapshot>()
  let [made, left] = [0, Number.POSITIVE_INFINITY]
  const seconds = () => Math.floor(Date.now() / 1_000)
  const guid = () => String(10_000_000 + ++made)
  const fail = (said: string): never => {
    throw zfsError(said)
  }
  const ofVolume = (name: string) => [...snapshots.keys()].filter((one) => one.startsWith(`${name}@`))
  const clonesOf = (name: string) => [...datasets].filter(([, { origin }]) => origin === name).map(([clone]) => clone)
  const dataset = (name: string): Dataset => datasets.get(name) ?? fail(`cannot open '${name}': dataset does not exist`)
  const parentOf = (name: string) => name.slice(0, name.lastIndexOf('/'))

  function add(name: string, one: Partial<Dataset>): void {
    if (datasets.has(name)) fail(`cannot create '${name}': dataset already exists`)
    if (name !== root && datasets.get(parentOf(name))?.type !== 'filesystem') fail('parent does not exist')
    const blank = { volsize: 0, origin: '-', written: 0, logical: 0, content: '', props: new Map<string, string>() }
    datasets.set(name, { ...blank, type: 'volume', guid: guid(), creation: seconds(), ...one })
  }

  /** Whether one was at that moment what the other is now: along the snapshots that it rests on. */
  function isBefore(bookmark: string, to: string): boolean {
    const moment = bookmarks.get(bookmark)?.order ?? Number.POSITIVE_INFINITY
    const home = bookmark.split('#')[0]
    for (let at = to; at !== '-'; at = datasets.get(at.split('@')[0] ?? '')?.origin ?? '-') {
      if ((snapshots.get(at)?.order ?? 0) < moment) return false
      if (at.split('@')[0] === home) return true
    }
    return false
  }

  function moveSnapshot(from: string, to: string): void {
    const snapshot = snapshots.get(from) ?? fail('dataset does not exist')
    if (snapshots.has(to)) fail('dataset already exists')
    snapshots.delete(from)
    snapshots.set(to, snapshot)
    for (const one of datasets.values()) if (one.origin === from) one.origin = to
  }

  function options(args: readonly string[]) {
    const props = new Map<string, string>()
    const names: string[] = []
    let volsize = 0
    for (let at = 0; at < args.length; at += 1) {
      const arg = args[at] ?? ''
      if (arg === '-o') {
        const [key = '', value = ''] = (args[++at] ?? '').split('=')
        props.set(key, value)
      } else if (arg === '-V') volsize = Number(args[++at])
      else if (arg !== '-s') names.push(arg)
    }
    return { props, names, volsize }
  }

  const COMMANDS: Readonly<Record<string, (args: readonly string[]) => void>> = {
    create(args) {
      const { props, names, volsize } = options(args)
      add(names[0] ?? '', { type: volsize > 0 ? 'volume' : 'filesystem', volsize, props })
    },
    clone(args) {
      const { props, names } = options(args)
      const [source = '', name = ''] = names
      const { volsize, content } = snapshots.get(source) ?? fail(`cannot open '${source}': dataset does not exist`)
      add(name, { volsize, content, origin: source, props })
    },
    snapshot([name = '']) {
      const of = dataset(name.split('@')[0] ?? '')
      if (snapshots.has(name)) fail('dataset already exists')
      const { volsize, content, written } = of
      snapshots.set(name, { guid: guid(), volsize, content, written, order: ++made, creation: seconds() })
      of.written = 0
    },
    rename([from = '', to = '']) {
      if (from.includes('@')) return moveSnapshot(from, to)
      const one = dataset(from)
      if (datasets.has(to)) fail('dataset already exists')
      if (datasets.get(parentOf(to))?.type !== 'filesystem') fail('parent does not exist')
      datasets.delete(from)
      datasets.set(to, one)
      for (const [name, bookmark] of [...bookmarks]) {
        if (!name.startsWith(`${from}#`)) continue
        bookmarks.delete(name)
        bookmarks.set(`${to}${name.slice(from.length)}`, bookmark)
      }
      for (const name of ofVolume(from)) moveSnapshot(name, `${to}${name.slice(from.length)}`)
    },
    promote([name = '']) {
      const one = dataset(name)
      const [parent = ''] = one.origin.split('@')
      const upTo = snapshots.get(one.origin)?.order ?? fail('not a cloned filesystem')
      const below = dataset(parent)
      const { origin } = one
      for (const moved of ofVolume(parent).filter((at) => (snapshots.get(at)?.order ?? 0) <= upTo))
        moveSnapshot(moved, `${name}${moved.slice(parent.length)}`)
      one.origin = below.origin
      below.origin = `${name}${origin.slice(parent.length)}`
    },
    set(args) {
      const pairs = args.filter((arg) => arg.includes('='))
      for (const name of args.filter((arg) => !arg.includes('='))) {
        for (const pair of pairs) {
          const [key = '', value = ''] = pair.split('=')
          if (key === 'volsize') dataset(name).volsize = Number(value)
          else dataset(name).props.set(key, value)
        }
      }
    },
    bookmark([source = '', name = '']) {
      const snapshot = snapshots.get(source) ?? fail(`cannot open '${source}': dataset does not exist`)
      if (bookmarks.has(name)) fail(`cannot create bookmark '${name}': bookmark exists`)
      bookmarks.set(name, snapshot)
    },
    destroy([name = '']) {
      if (!bookmarks.delete(name)) fail(`bookmark '${name}' does not exist.`)
    },
    inherit: ([key = '', name = '']) => void dataset(name).props.delete(key),
  }

  function columnOf(name: string, column: string): string {
    const bookmark = bookmarks.get(name)
    if (bookmark !== undefined) return { name, type: 'bookmark', guid: bookmark.guid }[column] ?? '-'
    const snapshot = snapshots.get(name)
    const of = dataset(name.split('@')[0] ?? '')
    const values: Record<string, string | undefined> = {
      name,
      type: snapshot ? 'snapshot' : of.type,
      guid: (snapshot ?? of).guid,
      volsize: of.type === 'volume' ? String((snapshot ?? of).volsize) : '-',
      origin: snapshot ? '-' : of.origin,
      written: String((snapshot ?? of).written),
      logicalreferenced: String(of.logical),
      creation: String((snapshot ?? of).creation),
      clones: clonesOf(name).join() || '-',
    }
    return values[column] ?? of.props.get(column) ?? '-'
  }

  function named(names: readonly string[], depth: number | undefined): readonly string[] {
    const all = [...datasets.keys(), ...snapshots.keys(), ...bookmarks.keys()]
    const levels = (below: string) => below.split(/[/@#]/).length
    return names.flatMap((name) =>
      all.filter((one) => {
        if (one !== name && !one.startsWith(`${name}/`) && !one.startsWith(`${name}@`) && !one.startsWith(`${name}#`))
          return false
        return depth === undefined || levels(one) - levels(name) <= depth
      }),
    )
  }

  function destroy(name: string) {
    const kind = snapshots.has(name) ? 'snapshot' : (datasets.get(name)?.type ?? 'absent')
    const own = kind === 'volume' ? ofVolume(name) : []
    const blockers = kind === 'snapshot' ? clonesOf(name) : own.flatMap((one) => [one, ...clonesOf(one)])
    if (blockers.length === 0 && !snapshots.delete(name) && datasets.delete(name))
      for (const one of [...bookmarks.keys()]) if (one.startsWith(`${name}#`)) bookmarks.delete(one)
    return { name, errno: 0, kind, blockers }
  }

  function live(): void {
    if (left <= 0) throw new Died('the process has ended')
    left -= 1
  }

  add(root, { type: 'filesystem' })
  return {
    zfs: {
      async call([command = '', ...args], { aborted }) {
        if (aborted) throw new FleetError('cancelled', 'cancelled')
        live()
        ;(COMMANDS[command] ?? fail(`unrecognized command '${command}'`))(args)
        return ''
      },
      async list({ columns, types, names, depth }) {
        if (left <= 0) throw new Died('the process has ended')
        const found = named(names, depth).filter((name) => types.some((type) => type === columnOf(name, 'type')))
        // as: every column has a value
        return found.map(
          (name) => Object.fromEntries(columns.map((column) => [column, columnOf(name, column)])) as never,
        )
      },
      async program({ args }) {
        live()
        return args.map(destroy)
      },
      async send({ from, to }, take) {
        const [before, now] = [bookmarks.get(from), snapshots.get(to)]
        if (before === undefined || now === undefined) return fail('dataset does not exist')
        if (!isBefore(from, to)) fail(`warning: cannot send '${to}': not an earlier snapshot from the same fs`)
        const ranges = before.content === now.content ? [] : [{ offset: 0, bytes: 4_096, isWritten: true }]
        take(sentStream({ fromGuid: before.guid, toGuid: now.guid }, ranges))
      },
      sync: async () => undefined,
    },
    write(device, text) {
      const one = dataset(device.slice('/dev/zvol/'.length))
      one.content = text
      one.written += 2 ** 20
      one.logical += 2 ** 20
    },
    read: (device, bytes) => dataset(device.slice('/dev/zvol/'.length)).content.slice(0, bytes),
    names: () => [...datasets.keys(), ...snapshots.keys(), ...bookmarks.keys()].toSorted(),
    lives: (commands) => {
      left = commands
    },
  }
}
