import { FleetError } from '../../../shared/errors.ts'
import type { Change } from '../driver.ts'
import type { SendCommand } from './send-stream.ts'

/** Of names kept at a time, some 300 bytes each with their paths. Beyond it a walk over the tree is as good. */
const MAX_NAMES = 20_000

/** One name in one directory; a file with several names is as many of these. */
interface Node {
  name: string
  parent: Node | undefined
  readonly inBase: boolean
  /** Where it stood in the base; the root and what was not there have none. */
  readonly originParent: Node | undefined
  readonly originName: string
  children: Map<string, Node> | undefined
  /** Names that stood here in the base and do not now. Not kept of what moved: then all of it is a change. */
  lost: Set<string> | undefined
  moved: boolean
  touched: boolean
}

export interface ReplayedNames {
  readonly changes: readonly Change[]
  /** Final paths of everything that a command was about, whether or not `changes` covers it by a directory above. */
  readonly touched: readonly string[]
}

/**
 * Replays a send stream on names alone: which object each path means is followed through all its renames, the stream's own
 * temporary ones at the root among them. Names of the base come into being when a command first speaks of them.
 */
export class NameReplay {
  readonly #root: Node = newNode('', undefined, { inBase: true })
  #names = 0
  #lastTouched: string | undefined

  /** @throws too_large when more changed than is kept; internal for a command that has no place in an incremental stream */
  apply({ kind, path, other }: SendCommand): void {
    // Several commands about one file stand together.
    const last = this.#lastTouched
    this.#lastTouched = undefined
    switch (kind) {
      case 'snapshot':
        return
      case 'subvol':
        throw new FleetError('internal', 'the change list of btrfs is not one', { detail: 'a full stream' })
      case 'mkfile':
      case 'mkdir':
      case 'mknod':
      case 'mkfifo':
      case 'mksock':
      case 'symlink':
        this.#create(path)
        return
      case 'link':
        this.#node(other).touched = true
        this.#create(path)
        return
      case 'rename':
        this.#move(this.#node(path), other)
        return
      case 'unlink':
      case 'rmdir':
        this.#remove(this.#node(path))
        return
      default:
        if (path !== last) this.#node(path).touched = true
        this.#lastTouched = path
    }
  }

  finish(): ReplayedNames {
    const found = { changes: [] as Change[], touched: [] as string[] }
    gather(this.#root, '', { inPlace: true, ...found })
    return found
  }

  #node(path: string): Node {
    let node = this.#root
    if (path === '') return node
    for (const name of path.split('/'))
      node = node.children?.get(name) ?? this.#add(node, name, standsInBase(node, name))
    return node
  }

  #create(path: string): void {
    const { parent, name } = this.#place(path)
    const replaced = parent.children?.get(name)
    if (replaced !== undefined) this.#remove(replaced)
    this.#add(parent, name, false).touched = true
  }

  #move(node: Node, path: string): void {
    this.#detach(node)
    const { parent, name } = this.#place(path)
    const replaced = parent.children?.get(name)
    if (replaced !== undefined) this.#remove(replaced)
    node.parent = parent
    node.name = name
    node.touched = true
    node.moved = true
    this.#names -= node.lost?.size ?? 0
    node.lost = undefined
    setChild(parent, node)
  }

  #remove(node: Node): void {
    this.#detach(node)
    this.#names -= 1 + (node.children?.size ?? 0) + (node.lost?.size ?? 0)
  }

  #detach(node: Node): void {
    node.parent?.children?.delete(node.name)
    node.parent = undefined
    const { originParent, originName } = node
    if (originParent === undefined || originParent.moved) return
    originParent.lost ??= new Set()
    if (originParent.lost.has(originName)) return
    originParent.lost.add(originName)
    this.#count()
  }

  #place(path: string): { readonly parent: Node; readonly name: string } {
    const slash = path.lastIndexOf('/')
    return { parent: this.#node(path.slice(0, Math.max(slash, 0))), name: path.slice(slash + 1) }
  }

  #add(parent: Node, name: string, inBase: boolean): Node {
    this.#count()
    const node = newNode(name, parent, { inBase })
    setChild(parent, node)
    return node
  }

  #count(): void {
    this.#names += 1
    if (this.#names > MAX_NAMES) throw new FleetError('too_large', 'too much has changed for a list')
  }
}

function newNode(name: string, parent: Node | undefined, { inBase }: { readonly inBase: boolean }): Node {
  return {
    name,
    parent,
    inBase,
    originParent: inBase ? parent : undefined,
    originName: name,
    children: undefined,
    lost: undefined,
    moved: false,
    touched: false,
  }
}

function setChild(parent: Node, child: Node): void {
  parent.children ??= new Map()
  parent.children.set(child.name, child)
}

/** Whether the base may hold this name in the directory: no command has said where it went. */
function standsInBase(parent: Node, name: string): boolean {
  return parent.inBase && parent.lost?.has(name) !== true
}

function isInPlace({ inBase, moved }: Node): boolean {
  return inBase && !moved
}

/** What is below a directory that moved has a new path, so all of it is one change. */
function gather(
  node: Node,
  path: string,
  to: { readonly inPlace: boolean; readonly changes: Change[]; readonly touched: string[] },
): void {
  if (node.touched) to.touched.push(path)
  if (to.inPlace) {
    if (node.touched) to.changes.push({ path, subtree: false })
    for (const name of node.lost ?? []) to.changes.push({ path: join(path, name), subtree: true })
  }
  for (const child of node.children?.values() ?? []) {
    const ownPath = join(path, child.name)
    const inPlace = to.inPlace && isInPlace(child)
    if (to.inPlace && !inPlace) to.changes.push({ path: ownPath, subtree: true })
    gather(child, ownPath, { ...to, inPlace })
  }
}

function join(directory: string, name: string): string {
  return directory === '' ? name : `${directory}/${name}`
}
