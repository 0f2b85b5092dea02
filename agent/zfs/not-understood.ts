/** Of an answer that says nothing certain: whoever asked does without. */
export class NotUnderstood extends Error {
  override readonly name = 'NotUnderstood'
}
