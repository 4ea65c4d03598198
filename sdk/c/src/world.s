# The world in wit/transform.wit, as wit-component encodes it: makes the module complete.
	.section ".custom_section.component-type:segno:stream@1.0.0:transform","",@
	.incbin "src/component-type.bin"
