import assert from 'node:assert/strict'
import type { SpecOf } from '../../../shared/job-spec.ts'
import type { LunLogin } from '../../iscsi/connection.ts'
import type { ImageContent } from '../../points/series-image.ts'
import { lunLogin } from '../lun/lun-login.ts'
import type { PipelineTools, StepContext } from '../pipeline.ts'
import { DiskSource, imageOf } from './disk-source.ts'
import type { DiskContent, PointSource } from './point-source.ts'

type Spec = Pick<SpecOf<'point.create'>, 'about'>
type Source = Extract<SpecOf<'point.create'>['source'], { readonly kind: 'lun' }>

/**
 * A LUN that another service lends: a snapshot, which nobody writes to. This host keeps nothing of it, so what differs from the point
 * below is told by hashes. The thread that reads it logs in and out.
 */
export class LunSource extends DiskSource implements PointSource {
  readonly #spec: Spec
  readonly #source: Source
  readonly #jobId: string
  readonly #tools: PipelineTools
  #login: LunLogin | undefined

  constructor(spec: Spec, source: Source, jobId: string, tools: PipelineTools) {
    super()
    this.#spec = spec
    this.#source = source
    this.#jobId = jobId
    this.#tools = tools
  }

  get content(): DiskContent {
    assert(this.#login)
    return { kind: 'disk', lun: this.#login, sizeBytes: this.#source.sizeBytes, changed: async () => undefined }
  }

  async open({ signal, secret }: Pick<StepContext, 'signal' | 'secret'>): Promise<void> {
    this.#login = await lunLogin({ ...this.#source, jobId: this.#jobId, secret }, this.#tools, signal)
  }

  async image(): Promise<ImageContent> {
    const { connection, sizeBytes } = this.#source
    const { targetName, lun } = connection
    const properties = { kind: 'lun', targetName, lun, sizeBytes, about: this.#spec.about }
    return imageOf(properties)
  }

  async drop(): Promise<void> {
    this.close()
  }

  async keep(): Promise<void> {
    this.close()
  }

  close(): void {
    this.#login = undefined
  }
}
