/* A guest that is mostly idle: at every tick of its timer (18 a second) it counts at 0x500 and
 * writes the count into 112 pages, from 0x10000 to 0x80000.
 */
    .code16
    .globl _start
_start:
    xorw %ax, %ax
    movw %ax, %ds
    movl $0, 0x500
    sti
tick:
    hlt
    incl 0x500
    movw $0x1000, %dx
page:
    movw %dx, %es
    movl 0x500, %eax
    movl %eax, %es:0
    addw $0x100, %dx
    cmpw $0x8000, %dx
    jb page
    jmp tick
    .org 510
    .word 0xaa55
