import type { TargetSecret } from '../../shared/target-config.ts'
import type { HostRead, ReadAnswerOf, ReadRequestOf } from '../../shared/wire/reads.ts'

/** Questions to agents, answered within seconds and without side effects. */
export interface HostReads {
  /**
   * @param secret sealed for that host on its way.
   * @throws what the agent answers; unavailable when it is silent or cannot be sent a secret
   */
  ask<Op extends HostRead>(
    host: string,
    operation: Op,
    request: ReadRequestOf<Op>,
    secret?: TargetSecret,
  ): Promise<ReadAnswerOf<Op>>
}
