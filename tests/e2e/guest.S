/* A guest that keeps dirtying memory: a boot sector, in real mode, that needs nothing.
 *
 * At 0x500 a counter of its rounds. In each round it writes the counter, and what a linear
 * congruential generator makes of it, into every page from 0x10000 to 0x80000.
 */
    .code16
    .globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movl $0, 0x500
    movl $1, %ebx
round:
    incl 0x500
    movw $0x1000, %dx
page:
    movw %dx, %es
    movl 0x500, %eax
    movl %eax, %es:0
    movw $4, %di
word:
    imull $1664525, %ebx, %ebx
    addl $1013904223, %ebx
    movl %ebx, %es:(%di)
    addw $4, %di
    cmpw $1024, %di
    jb word
    addw $0x100, %dx
    cmpw $0x8000, %dx
    jb page
    jmp round
    .org 510
    .word 0xaa55
