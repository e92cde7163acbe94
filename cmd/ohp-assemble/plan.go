package main

import (
	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/progress"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
)

func planCommand() *cobra.Command {
	var o buildFlags
	cmd := &cobra.Command{
		Use:   "plan REFERENCE | -m DEFINITION",
		Short: "Show the images that build would make: layout, sizes, kernel arguments, and a key of all inputs",
		RunE: func(cmd *cobra.Command, args []string) error {
			requests, err := o.parse(cmd, args)
			if err != nil {
				return err
			}
			for _, r := range requests {
				ui := progress.New(false)
				defer ui.Wait()
				plan, image, err := load(cmd.Context(), ui, r)
				if err != nil {
					return err
				}
				image.Close() // the layout is known
				ui.Wait()
				if err := o.format.print(cmd, r.describe(plan)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	o.flags(cmd)
	return cmd
}

// describe describes a plan. The origin of a size that the command line or a
// definition has is the option, or the place in the definition.
func (r *request) describe(plan *assemble.Plan) *assemble.Description {
	d := plan.Describe()
	for i := range d.Images {
		if r.images.Size != 0 {
			d.Images[i].SizeBy = r.sizeBy
		}
	}
	return d
}
