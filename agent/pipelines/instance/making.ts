import assert from 'node:assert/strict'
import { z } from 'zod'
import { InstanceMade } from '../../../shared/instance-spec.ts'
import { close } from '../../native/paths.ts'
import { writeNote } from '../../native/xattrs.ts'
import type { Step, StepContext, UndoContext } from '../pipeline.ts'
import { openRoot } from '../point/restore-new.ts'
import { named, tolerating } from '../point/steps.ts'
import { openKept } from './kept-instance.ts'
import type { InstancePlacement, Ours } from './placement.ts'

/** On the root of a dataset whose instance was started: its tree is no point's any more. */
export const STARTED_NOTE = 'started'

/** Beside what the tree notes of itself: the instance once it is made, and that it stands at its name. */
const Noted = z.object({ instance: InstanceMade.optional(), done: z.literal(true).optional() })

/** How a dataset comes to hold the tree of an instance. What `stage` has noted in the job's memory, `look` finds there. */
export interface MadeTree<Result extends object> {
  look(context: StepContext): Promise<void>
  stage(context: StepContext): Promise<void>
  unstage(context: UndoContext): Promise<void>
  /** The instance stands. */
  settle(): Promise<void>
  result(): Result
  /** Of the dataset. */
  mountpoint(): string
  close(): Promise<void>
}

interface MakingParts<Result extends object> {
  readonly tree: MadeTree<Result>
  readonly placement: InstancePlacement
  readonly start: boolean
  /** Refuses what the tree must not be made of, before it is. */
  readonly admit: (context: StepContext) => Promise<void>
  /** Begins the messages of failures. */
  readonly subject: string
}

/**
 * A dataset and an instance on it: the dataset → the instance under a name of this job's → what it replaces aside → the instance at
 * its name → started → noted, which commits → what was replaced destroyed. Every step before the note is taken back; where that fails, the
 * tree stays for who tries again.
 */
export class InstanceMaking<Result extends object> {
  readonly #parts: MakingParts<Result>
  #made: InstanceMade | undefined
  #at: string | undefined
  isCommitted = false

  constructor(parts: MakingParts<Result>) {
    this.#parts = parts
  }

  get steps(): readonly Step[] {
    const { subject } = this.#parts
    return [
      // All is undone here, as an earlier run may have come further than this one.
      { ...named('look', (context) => this.#look(context), subject), undo: (context) => this.#undo(context) },
      named('stage', (context) => this.#stage(context), subject),
      named('make', (context) => this.#make(context), subject),
      named('place', (context) => this.#place(context), subject),
      named('start', (context) => this.#start(context), subject),
      { ...named('commit', (context) => this.#commit(context), subject), commits: true },
      named('settle', () => this.#settle(), subject),
    ]
  }

  result(): { readonly tree: Result; readonly made: InstanceMade } {
    assert(this.#made)
    return { tree: this.#parts.tree.result(), made: this.#made }
  }

  close(): Promise<void> {
    return this.#parts.tree.close()
  }

  async #look(context: StepContext): Promise<void> {
    const { tree, placement, admit } = this.#parts
    const noted = context.memory.staged()
    const { instance, done } = noted ? Noted.parse(JSON.parse(noted)) : {}
    this.#made = instance
    this.isCommitted = done === true
    await tree.look(context)
    if (this.isCommitted) return
    await placement.check(this.#ours, context.signal)
    if (!noted) await admit(context)
  }

  async #stage(context: StepContext): Promise<void> {
    if (!this.isCommitted) await this.#parts.tree.stage(context)
  }

  async #make({ memory, signal }: StepContext): Promise<void> {
    if (this.#made !== undefined) return
    const { tree, placement } = this.#parts
    this.#made = await placement.make(tree.mountpoint(), openKept(tree.mountpoint()), signal)
    await memory.stage(JSON.stringify({ ...tree.result(), instance: this.#made } satisfies z.infer<typeof Noted>))
  }

  async #place({ signal }: StepContext): Promise<void> {
    if (!this.isCommitted) this.#at = await this.#parts.placement.place(this.#mine, signal)
  }

  async #start({ signal }: StepContext): Promise<void> {
    const { start, placement, tree } = this.#parts
    if (this.isCommitted || !start) return
    const fd = openRoot(tree.mountpoint())
    try {
      writeNote(fd, STARTED_NOTE, 'true')
    } finally {
      close(fd)
    }
    await placement.begin(signal)
  }

  async #commit({ memory }: StepContext): Promise<void> {
    if (this.isCommitted) return
    assert(this.#made && this.#at !== undefined)
    this.#made = { ...this.#made, instance: this.#at }
    const noted = { ...this.#parts.tree.result(), instance: this.#made, done: true } satisfies z.infer<typeof Noted>
    await memory.stage(JSON.stringify(noted))
    this.isCommitted = true
  }

  async #undo(context: UndoContext): Promise<void> {
    if (this.isCommitted) return
    const { tree, placement } = this.#parts
    try {
      await placement.takeBack(this.#ours)
    } catch (thrown) {
      // What was made may stand on the tree still, or run there.
      if (this.#made === undefined) await tree.unstage(context)
      throw thrown
    }
    this.#made = undefined
    await tree.unstage(context)
  }

  /** First the dataset, which would go with the job else. */
  async #settle(): Promise<void> {
    await this.#parts.tree.settle()
    await tolerating(this.#parts.placement.settle())
  }

  get #ours(): Ours | undefined {
    return this.#made === undefined ? undefined : this.#mine
  }

  get #mine(): Ours {
    assert(this.#made)
    return { instance: this.#made.instance, mountpoint: this.#parts.tree.mountpoint() }
  }
}
